from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoConfig, AutoTokenizer

from recipe import StaleError, VocabularyError, Workdir, load_recipe
from tests.vocab import tokenizers_made_here as made
from vocab.__main__ import main
from vocab.build import build
from vocab.store import read_vocabulary

RECIPE = """
name: test
workdir: {workdir}
teachers:
  a: {{model: {here}/wordpiece}}
  b: {{model: {here}/bytes}}
languages:
  fi: {{teachers: [a, b], corpora: ["{here}/fi.txt"]}}
  es: {{teachers: [b], corpora: ["{here}/es.txt"]}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    made.wordpiece().save_pretrained(folder / "wordpiece")
    made.byte_level().save_pretrained(folder / "bytes")
    return folder


@pytest.fixture
def here(tmp_path: Path, trained: Path) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "fi.txt").write_text("\n".join(made.SENTENCES[:2]), encoding="utf-8")
    (tmp_path / "r.yaml").write_text(RECIPE.format(here=tmp_path, workdir=tmp_path / "work"))
    return tmp_path


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_layout_is_that_of_the_contract(here: Path) -> None:
    assert main(["build", str(here / "r.yaml")]) == 0
    names = {"tokenizer.json", "tokenizer_config.json"}
    folders = ["tokenizer", "tokenizers/fi", "tokenizers/es", "tokenizers/by-teacher/a", "tokenizers/by-teacher/b"]
    files = {"vocabulary.json", "manifest.json", "remaps/a.npy", "remaps/b.npy"}
    assert set(_contents(here / "work/vocab")) == files | {f"{folder}/{name}" for folder in folders for name in names}


def test_a_second_build_changes_nothing_and_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", str(here / "r.yaml")])
    before = _contents(here / "work")
    assert main(["build", str(here / "r.yaml")]) == 0
    assert "up to date" in capsys.readouterr().out
    assert _contents(here / "work") == before


def test_the_same_teachers_give_the_same_files(here: Path) -> None:
    main(["build", str(here / "r.yaml")])
    before = _contents(here / "work")
    assert main(["build", str(here / "r.yaml"), "--force"]) == 0
    assert _contents(here / "work") == before


def test_what_is_read_back_fits_together(here: Path) -> None:
    recipe = load_recipe(here / "r.yaml")
    vocabulary, _ = build(recipe, Workdir(recipe.workdir))
    assert vocabulary.size == len(vocabulary.tokens) == len(vocabulary.starts_word)
    assert vocabulary.teachers == ("a", "b")
    tokenizer = AutoTokenizer.from_pretrained(here / "wordpiece")
    first, second = tokenizer.convert_tokens_to_ids(["kissa", "##en"]) if "kissa" in tokenizer.vocab else (20, 21)
    remap = vocabulary.remap("a")
    for number, token in ((n, tokenizer.convert_ids_to_tokens(n)) for n in (first, second, *range(10, 60))):
        if token not in tokenizer.all_special_tokens:
            assert vocabulary.starts_word[remap[number]] == (not token.startswith("##") or token == "##")


def test_a_vocabulary_is_read_without_loading_a_tokenizer(here: Path) -> None:
    main(["build", str(here / "r.yaml")])
    code = (
        "import sys; from recipe import Workdir, load_recipe; from vocab.store import read_vocabulary\n"
        f"r = load_recipe({str(here / 'r.yaml')!r}); read_vocabulary(Workdir(r.workdir), r).starts_word\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_there_is_no_vocabulary_before_it_is_built(here: Path) -> None:
    recipe = load_recipe(here / "r.yaml")
    with pytest.raises(VocabularyError, match="python -m vocab build RECIPE"):
        read_vocabulary(Workdir(recipe.workdir), recipe)


@pytest.mark.parametrize("override", ["vocab.match=surface", "teachers.c.model=bert/c", "teachers.a.revision=x"])
def test_a_vocabulary_of_something_else_is_refused(here: Path, override: str, capsys) -> None:
    main(["build", str(here / "r.yaml")])
    before = _contents(here / "work")
    assert main(["build", str(here / "r.yaml"), "--set", override]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--force" in error
    assert _contents(here / "work") == before
    recipe = load_recipe(here / "r.yaml", [override])
    with pytest.raises(StaleError):
        read_vocabulary(Workdir(recipe.workdir), recipe)


def test_a_teacher_whose_tokenizer_changed_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", str(here / "r.yaml")])
    made.wordpiece(lowercase=True).save_pretrained(here / "wordpiece")
    assert main(["build", str(here / "r.yaml")]) == 2
    assert "the tokenizer of a has changed" in capsys.readouterr().err


def test_a_new_language_of_known_teachers_keeps_every_id(here: Path) -> None:
    recipe = load_recipe(here / "r.yaml")
    workdir = Workdir(recipe.workdir)
    before, _ = build(recipe, workdir)
    more = load_recipe(here / "r.yaml", ['languages.sv={teachers: [a], corpora: ["x"]}'])
    with pytest.raises(StaleError, match="python -m vocab build"):
        read_vocabulary(workdir, more)
    after, _ = build(more, workdir)
    assert after.fingerprint == before.fingerprint
    assert workdir.exists("vocab/tokenizers/sv/tokenizer.json")


def test_a_workdir_may_be_in_memory(here: Path) -> None:
    recipe = load_recipe(here / "r.yaml", workdir="memory://vocab-test")
    local = load_recipe(here / "r.yaml")
    ours, _ = build(recipe, Workdir(recipe.workdir))
    theirs, _ = build(local, Workdir(local.workdir))
    assert ours.fingerprint == theirs.fingerprint
    assert np.array_equal(ours.remap("b"), theirs.remap("b"))
    assert build(recipe, Workdir(recipe.workdir))[1] is False


def test_a_teacher_without_a_mask_token_is_refused_before_anything_is_written(here: Path, capsys) -> None:
    config = here / "bytes" / "tokenizer_config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "mask_token"}))
    state = here / "bytes" / "tokenizer.json"
    state.write_text(state.read_text(encoding="utf-8").replace("<mask>", "<other>"), encoding="utf-8")
    assert main(["build", str(here / "r.yaml")]) == 2
    assert "no mask token" in capsys.readouterr().err
    assert not (here / "work").exists()


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "xlm-roberta", "electra"])
def test_a_tokenizer_beside_a_students_config_loads_the_same(here: Path, model_type: str) -> None:
    main(["build", str(here / "r.yaml")])
    for folder in (here / "work/vocab/tokenizer", here / "work/vocab/tokenizers/es"):
        alone = AutoTokenizer.from_pretrained(folder)
        AutoConfig.for_model(model_type).save_pretrained(folder)
        beside = AutoTokenizer.from_pretrained(folder)
        texts = [*made.SENTENCES[:6], *made.HARD]
        assert beside(texts)["input_ids"] == alone(texts)["input_ids"]
        assert len(beside) == len(alone)


def test_inspect_shows_every_teacher_and_language(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", str(here / "r.yaml")])
    capsys.readouterr()
    assert main(["inspect", str(here / "r.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"a", "b", "fi", "es"} <= {line.split()[0] for line in lines if line}
    assert any(line.startswith("es") and "cannot be read" in line for line in lines)


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom vocab.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'apache_beam'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
