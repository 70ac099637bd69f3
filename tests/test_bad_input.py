"""Every mistake is one line that names the place and the remedy, exit code 2, and nothing half-written."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertModel

from pipeline.__main__ import main as pipeline
from recipes.tiny_tokenizer import train_tokenizer
from tests.conftest import SHARED, make_text, needs_shared
from vocab.__main__ import main as vocab


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail, and give the one line it said."""

    def run(main: Callable[[list[str]], int], *arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


def corpus(path: Path) -> dict[str, Any]:
    return {"hi": {"teachers": ["uni"], "corpora": [str(path)]}}


def damaged_gzip(path: Path) -> None:
    content = gzip.compress("\n".join(make_text("hi")).encode())
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("missing.txt", lambda path: None, "no such file"),
        ("half.txt.gz", damaged_gzip, "truncated"),
        ("folder", lambda path: path.mkdir(), "holds no corpus file"),
        ("empty.txt", lambda path: path.touch(), "is empty"),
        ("bytes.txt", lambda path: path.write_bytes(b"\xff\xfe\xfd\n" * 9), "no document of 9 can be used"),
        ("long.txt", lambda path: path.write_bytes(b"x" * 50_000_000), "no document of 1 can be used"),
    ],
)
def test_a_corpus_that_cannot_be_used(
    name: str,
    make: Callable[[Path], object],
    says: str,
    tmp_path: Path,
    write_recipe: Callable[..., Path],
    refused: Callable[..., str],
) -> None:
    make(tmp_path / name)
    recipe = write_recipe(languages=corpus(tmp_path / name))
    line = refused(pipeline, "shard", str(recipe))
    assert says in line
    assert "hi" in line or name in line
    assert not (tmp_path / "work" / "sequences").exists() or not list((tmp_path / "work").rglob("part-*"))


def test_bad_records_go_to_quarantine_and_are_counted(
    tmp_path: Path, write_recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mixed.txt").write_bytes(b"\xff\xfe bad\n" + "\n".join(make_text("hi")).encode())
    assert pipeline(["shard", str(write_recipe(languages=corpus(tmp_path / "mixed.txt")))]) == 0
    assert "1 quarantined" in capsys.readouterr().out
    (record,) = (tmp_path / "work" / "quarantine" / "shard" / "hi").rglob("*.jsonl")
    assert "not UTF-8" in record.read_text()


def test_a_language_that_is_not_in_the_recipe(write_recipe: Callable[..., Path], refused: Callable[..., str]) -> None:
    assert "it has: es, hi" in refused(pipeline, "teach", str(write_recipe()), "--lang", "en_US.UTF-8")


@needs_shared
def test_a_teacher_without_a_mask_token(write_recipe: Callable[..., Path], refused: Callable[..., str]) -> None:
    teachers = {"gpt": {"model": str(SHARED / "vocabs" / "gpt2")}}
    languages = {"es": {"teachers": ["gpt"], "corpora": ["es.txt"]}}
    line = refused(vocab, "build", str(write_recipe(teachers=teachers, languages=languages)))
    assert "gpt" in line
    assert "no mask token" in line


@pytest.fixture
def hindi(tmp_path: Path, teachers: dict[str, Path], write_recipe: Callable[..., Path]) -> tuple[Path, str]:
    """A recipe with one teacher of its own, ready to be taught; the teacher's folder may be spoilt."""
    folder = tmp_path / "teacher"
    shutil.copytree(teachers["uni"], folder)
    languages = {"hi": {"teachers": ["uni"], "corpora": [str(tmp_path / "hi.txt")]}}
    path = str(write_recipe(teachers={"uni": {"model": str(folder)}}, languages=languages))
    assert vocab(["build", path]) == 0
    assert pipeline(["shard", path]) == 0
    return folder, path


def test_a_teacher_folder_without_weights(hindi: tuple[Path, str], refused: Callable[..., str]) -> None:
    folder, path = hindi
    (folder / "model.safetensors").unlink()
    assert "cannot be loaded as a masked LM" in refused(pipeline, "teach", path)


def test_a_teacher_without_a_head(hindi: tuple[Path, str], refused: Callable[..., str]) -> None:
    folder, path = hindi
    tokenizer = train_tokenizer("unigram", make_text("hi"), 200)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    assert "lacks weights" in refused(pipeline, "teach", path)


def test_a_tokenizer_that_is_not_the_models(
    hindi: tuple[Path, str], teachers: dict[str, Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    _, path = hindi
    other = tmp_path / "other"
    train_tokenizer("byte-bpe", make_text("hi"), 600).save_pretrained(other)
    override = ["--set", f"teachers.uni.tokenizer={other}", "--workdir", str(tmp_path / "fresh")]
    assert vocab(["build", path, *override]) == 0
    assert pipeline(["shard", path, *override]) == 0
    assert "tokenizer has" in refused(pipeline, "teach", path, *override)


def test_sequences_longer_than_the_teacher_takes(
    hindi: tuple[Path, str], tmp_path: Path, refused: Callable[..., str]
) -> None:
    _, path = hindi
    override = ["--set", "sequences.max_length=1024", "--workdir", str(tmp_path / "long")]
    assert vocab(["build", path, *override]) == 0
    assert pipeline(["shard", path, *override]) == 0
    assert "at most 512 tokens" in refused(pipeline, "teach", path, *override)


def test_a_truncated_sequence_shard(hindi: tuple[Path, str], tmp_path: Path, refused: Callable[..., str]) -> None:
    _, path = hindi
    shard = sorted((tmp_path / "work" / "sequences" / "uni" / "hi").glob("part-*"))[0]
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    line = refused(pipeline, "teach", path)
    assert shard.name in line
    assert "pipeline shard" in line
    assert pipeline(["shard", path]) == 0
    assert shard.read_bytes() == content
    assert pipeline(["teach", path]) == 0


def test_a_truncated_target_shard_is_found_and_mended(
    hindi: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = hindi
    assert pipeline(["teach", path]) == 0
    shard = sorted((tmp_path / "work" / "targets" / "uni" / "hi").glob("part-*"))[0]
    content = shard.read_bytes()
    for spoilt in (content[:-9], content[:99] + bytes([content[99] ^ 255]) + content[100:]):
        shard.write_bytes(spoilt)
        assert pipeline(["verify", path]) == 2
        assert shard.name in capsys.readouterr().out
        shard.unlink()
        assert pipeline(["teach", path]) == 0
        assert shard.read_bytes() == content


def test_a_workdir_of_another_vocabulary(
    hindi: tuple[Path, str], write_recipe: Callable[..., Path], refused: Callable[..., str]
) -> None:
    other = str(write_recipe())
    for main, command in ((vocab, "build"), (pipeline, "teach")):
        line = refused(main, command, other)
        assert "in the order uni" in line
        assert "python -m vocab build RECIPE" in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.kd_wieght=1", "training.kd_wieght: unknown key; accepted: steps"),
        ("training.steps=many", "training.steps"),
        ("languages={}", "languages"),
        ("languages.es.teachers=[nobody]", "declared: wp, bpe, uni"),
        ("languages.es.teachers=[wp, wp]", "named twice"),
        ("training.kd_weight=1.5", "training.kd_weight"),
        ("nonsense", "section.key=value"),
    ],
)
def test_a_recipe_that_is_wrong(
    change: str, says: str, write_recipe: Callable[..., Path], refused: Callable[..., str]
) -> None:
    assert says in refused(vocab, "build", str(write_recipe()), "--set", change)
