"""The shard job on text that is doubled, cut off, of another script, and killed half-way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import shard_steps
from pipeline.__main__ import main as pipeline
from pipeline.clean import is_heldout
from pipeline.sequences import SequenceManifest, read_sequence_manifest
from recipe import MergeDistillError, Source, Workdir, load_recipe
from tests.conftest import make_text

UNI = Source("uni", "hi")


@pytest.fixture
def shard(write_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., SequenceManifest]:
    """Shard Hindi text given as one string, with these settings of `sequences`; the manifest."""

    def run(text: str, name: str = "text.txt", workdir: str = "work", **settings: Any) -> SequenceManifest:
        (tmp_path / name).write_text(text, encoding="utf-8")
        languages = {"hi": {"teachers": ["uni"], "corpora": [str(tmp_path / name)]}}
        sequences = {"max_length": 32, "shard_size": 64, "heldout": 0.1, **settings}
        path = write_recipe(languages=languages, sequences=sequences, workdir=str(tmp_path / workdir))
        assert pipeline(["shard", str(path), "--lang", "hi"]) == 0
        manifest = read_sequence_manifest(Workdir(str(tmp_path / workdir)), UNI)
        assert manifest is not None
        assert manifest.read == manifest.used + manifest.duplicates + manifest.filtered + manifest.quarantined
        return manifest

    return run


def rows(tmp_path: Path, heldout: bool = False, workdir: str = "work") -> pl.DataFrame:
    return pl.read_parquet(tmp_path / workdir / "sequences/uni/hi" / ("heldout" if heldout else "") / "*.parquet")


def test_documents_may_be_lines_paragraphs_or_files(shard: Callable[..., SequenceManifest], tmp_path: Path) -> None:
    lines = make_text("hi", 60)
    text = "\n".join(line + ("\n" if number % 3 == 2 else "") for number, line in enumerate(lines))
    assert shard(text, workdir="a").read == 60
    assert shard(text, workdir="b", documents="blank-line").read == 20
    assert shard(text, workdir="c", documents="record", heldout=0.0).read == 1


def test_paragraphs_that_come_again_are_kept_once(shard: Callable[..., SequenceManifest], tmp_path: Path) -> None:
    lines = make_text("hi", 120)
    footer = "पारा नदी लेगो हिस कामन दीप"
    # Every document ends with the same line, and the last twenty documents are the first twenty again.
    documents = [f"{lines[n]}\n{lines[n + 1]}\n{footer}" for n in range(0, 120, 2)]
    text = "\n\n".join([*documents, *documents[:20]])
    whole = shard(text, workdir="a", documents="blank-line")
    assert (whole.read, whole.duplicates, whole.duplicate_paragraphs) == (80, 20, 0)
    kept = shard(text, workdir="b", documents="blank-line", deduplicate="paragraph")
    assert (kept.read, kept.duplicates) == (80, 20)
    assert kept.duplicate_paragraphs == 20 * 3 + 59
    assert kept.tokens + 200 < whole.tokens


def test_a_paragraph_of_a_heldout_document_is_never_taught(
    shard: Callable[..., SequenceManifest], tmp_path: Path
) -> None:
    lines = make_text("hi", 200)
    # Each line is in two documents, so it often is in one that is held out and in one that is not.
    text = "\n\n".join(f"{lines[n]}\n{lines[(n * 7 + 3) % 200]}" for n in range(200))
    shard(text, documents="blank-line", deduplicate="paragraph", heldout=0.3, max_length=512)
    heldout, taught = (rows(tmp_path, part) for part in (True, False))
    assert all(is_heldout(document, 0.3) for document in heldout["document"])
    assert not any(is_heldout(document, 0.3) for document in taught["document"])
    # Of every doubled line one copy is left: the number of tokens shows that nothing is there twice.
    whole = shard("\n".join(lines), workdir="lines", heldout=0.0, max_length=512)
    tokens = sum(len(ids) - 2 for frame in (heldout, taught) for ids in frame["input_ids"])
    assert tokens == pytest.approx(whole.tokens - 2 * whole.sequences, rel=0.01)


def test_documents_of_another_script_are_filtered(shard: Callable[..., SequenceManifest]) -> None:
    text = "\n".join(make_text("hi", 40) + make_text("es", 25))
    manifest = shard(text, scripts=["Devanagari"])
    assert (manifest.used, manifest.filtered) == (40, 25)


def test_packing_across_documents_leaves_no_padding(shard: Callable[..., SequenceManifest], tmp_path: Path) -> None:
    text = "\n".join(make_text("hi", 150))
    alone = shard(text, workdir="a")
    across = shard(text, workdir="b", packing="across")
    assert alone.padding_share > 0.2
    assert across.padding_share < 0.01
    assert across.sequences < alone.sequences
    assert rows(tmp_path, workdir="b")["sequence_id"].is_unique().all()


def test_shards_hold_about_what_the_recipe_says(shard: Callable[..., SequenceManifest], tmp_path: Path) -> None:
    # Long documents first: an estimate from the head of the file would be far off.
    lines = sorted(make_text("hi", 3000), key=len, reverse=True)
    manifest = shard("\n".join(lines), shard_size=200, heldout=0.0)
    assert manifest.sequences / manifest.shards == pytest.approx(200, rel=0.15)


@pytest.mark.parametrize("step", ["SpillExtent", "WriteStretch"])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    step: str, write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (tmp_path / f"part-{number}.txt").write_text("\n".join(make_text("hi", 60 + number)), encoding="utf-8")
    languages = {"hi": {"teachers": ["uni"], "corpora": [str(tmp_path / "part-*.txt")]}}
    sequences = {"max_length": 32, "shard_size": 10, "heldout": 0.1}
    path = str(write_recipe(languages=languages, sequences=sequences))
    other = str(tmp_path / "other")
    assert pipeline(["shard", path, "--workdir", other]) == 0

    calls: list[Any] = []
    process = getattr(shard_steps, step).process

    def dies_at_the_third(self: Any, element: Any) -> Any:
        calls.append(element)
        if len(calls) == 3:
            raise MergeDistillError("killed")
        return list(process(self, element))

    monkeypatch.setattr(getattr(shard_steps, step), "process", dies_at_the_third)
    assert pipeline(["shard", path]) == 2
    assert read_sequence_manifest(Workdir(load_recipe(path).workdir), UNI) is None
    done = len(calls) - 1
    monkeypatch.setattr(getattr(shard_steps, step), "process", lambda s, e: (calls.append(e), list(process(s, e)))[1])
    calls.clear()
    assert pipeline(["shard", path]) == 0
    total = 6 if step == "SpillExtent" else read_sequence_manifest(Workdir(other), UNI).shards + 1  # type: ignore[union-attr]
    assert len(calls) == total - done
    one, two = ({p.name: p.read_bytes() for p in (Path(w) / "sequences").rglob("*") if p.is_file()}
                for w in (other, load_recipe(path).workdir))  # fmt: skip
    assert one == two
    assert not [name for name in one if "spill" in name or "extent" in name or name == "job.json"]


def test_a_second_job_on_the_same_source_is_kept_out(
    write_recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_recipe())
    workdir = Workdir(load_recipe(path).workdir)
    with workdir.lock("sequences/uni/hi"):
        assert pipeline(["shard", path, "--lang", "hi"]) == 2
        assert "another job is at work on it" in capsys.readouterr().err
    assert pipeline(["shard", path, "--lang", "hi"]) == 0


def test_a_dask_cluster_makes_the_same_bytes(write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the dask extra")
    path = str(write_recipe())
    assert pipeline(["shard", path, "--lang", "hi"]) == 0
    other = str(tmp_path / "dask")
    assert pipeline(["shard", path, "--lang", "hi", "--workdir", other, "--runner", "DaskRunner"]) == 0
    one, two = ({p.name: p.read_bytes() for p in (Path(w) / "sequences").rglob("part-*")}
                for w in (load_recipe(path).workdir, other))  # fmt: skip
    assert one == two
