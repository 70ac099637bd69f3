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


@pytest.mark.parametrize("override", ["vocab.match=surface", "teachers.a.revision=x", "teachers.b.tokenizer=x"])
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


@pytest.fixture
def grown(here: Path) -> tuple[Path, list[str]]:
    """A built vocabulary, and the overrides that add a third teacher with a language of its own."""
    assert main(["build", str(here / "r.yaml")]) == 0
    made.unigram().save_pretrained(here / "third")
    more = [f"teachers.c.model={here}/third", f'languages.sv={{teachers: [c], corpora: ["{here}/fi.txt"]}}']
    return here, more


def test_a_new_teacher_keeps_every_merged_id(grown: tuple[Path, list[str]], capsys) -> None:
    here, more = grown
    before, workdir = load_recipe(here / "r.yaml"), Workdir(str(here / "work"))
    old = read_vocabulary(workdir, before)
    remaps, fingerprints = ({name: get(name) for name in "ab"} for get in (old.remap, old.remap_fingerprint))
    tokens = old.tokens
    after = load_recipe(here / "r.yaml", more)
    with pytest.raises(StaleError, match="python -m vocab build"):
        read_vocabulary(workdir, after)
    assert main(["build", str(here / "r.yaml"), *(word for each in more for word in ("--set", each))]) == 0
    assert "grown" in capsys.readouterr().out
    new = read_vocabulary(workdir, after)
    assert new.size > old.size
    assert new.tokens[: old.size] == tokens
    assert all(np.array_equal(new.remap(name), remaps[name]) for name in "ab")
    assert {name: new.remap_fingerprint(name) for name in "ab"} == fingerprints
    assert [entry["change"] for entry in new.lineage] == ["built", "grown by c"]
    for folder in ("tokenizer", "tokenizers/fi", "tokenizers/sv"):
        assert len(AutoTokenizer.from_pretrained(here / "work/vocab" / folder)) == new.size


def test_a_vocabulary_grows_to_what_would_be_built_at_once(grown: tuple[Path, list[str]]) -> None:
    here, more = grown
    recipe, elsewhere = load_recipe(here / "r.yaml", more), load_recipe(here / "r.yaml", more, str(here / "other"))
    assert build(recipe, Workdir(recipe.workdir))[1] == "grown"
    assert build(elsewhere, Workdir(elsewhere.workdir))[1] == "merged"
    differ = {name for name, content in _contents(here / "work").items() if _contents(here / "other")[name] != content}
    assert differ == {"vocab/manifest.json"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("  a: {model: HERE/wordpiece}\n", "holds the tokens of a, which the recipe no longer has"),
        ("  b: {model: HERE/bytes}\n", "in the order a, b"),
    ],
)
def test_removing_and_reordering_teachers_is_refused_with_the_remedy(here: Path, capsys, change, words) -> None:
    main(["build", str(here / "r.yaml")])
    before = _contents(here / "work")
    text = (here / "r.yaml").read_text()
    line = change.replace("HERE", str(here))
    changed = text.replace(line, "")
    if "order" in words:
        changed = changed.replace("teachers:\n", f"teachers:\n{line}", 1)
    else:
        changed = changed.replace("[a, b]", "[b]")
    (here / "r.yaml").write_text(changed)
    assert main(["build", str(here / "r.yaml")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "--force" in error
    assert _contents(here / "work") == before


def test_a_workdir_may_be_in_memory(here: Path) -> None:
    recipe = load_recipe(here / "r.yaml", workdir="memory://vocab-test")
    local = load_recipe(here / "r.yaml")
    ours, _ = build(recipe, Workdir(recipe.workdir))
    theirs, _ = build(local, Workdir(local.workdir))
    assert ours.fingerprint == theirs.fingerprint
    assert np.array_equal(ours.remap("b"), theirs.remap("b"))
    assert build(recipe, Workdir(recipe.workdir))[1] == "up to date"


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
    page = (here / "work/vocab/report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http" not in page
    figures = json.loads((here / "work/vocab/figures.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in figures["teachers"]] == ["a", "b"]
    assert figures["shared"][0][1] == figures["shared"][1][0] > 0


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom vocab.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'apache_beam'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
