"""Both Beam jobs, for real, on tiny teachers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForMaskedLM

from pipeline.__main__ import main as pipeline
from pipeline.clean import is_heldout
from pipeline.sequences import read_sequence_manifest, read_sequences
from recipe import Recipe, Source, Workdir, load_recipe
from student.__main__ import main as student
from targets import read_manifest, read_shard
from vocab.__main__ import main as vocab
from vocab.store import read_vocabulary


@pytest.fixture
def taught(write_recipe: Callable[..., Path]) -> tuple[Recipe, Workdir, str]:
    path = str(write_recipe())
    assert vocab(["build", path]) == 0
    assert pipeline(["shard", path]) == 0
    assert pipeline(["teach", path]) == 0
    recipe = load_recipe(path)
    return recipe, Workdir(recipe.workdir), path


def files(workdir: Workdir, folder: str) -> dict[str, bytes]:
    root = Path(workdir.path(folder))
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_targets_are_the_teachers_own_words(taught: tuple[Recipe, Workdir, str]) -> None:
    """Every stored number against a plain forward pass of the teacher over the same masked input."""
    recipe, workdir, _ = taught
    for source in recipe.sources():
        model = AutoModelForMaskedLM.from_pretrained(recipe.teachers[source.teacher].model).eval()
        remap = read_vocabulary(workdir, recipe).remap(source.teacher)
        back = {int(merged): own for own, merged in enumerate(remap) if merged >= 0}
        rows = read_shard(
            workdir, f"{workdir.targets(source)}/{read_manifest(workdir, workdir.targets(source)).shards[0].name}"
        )  # type: ignore[union-attr]
        for row in range(0, len(rows), 17):
            one = rows.take(np.array([row]))
            own = torch.tensor([[back[int(i)] for i in one.input_ids]])
            with torch.no_grad():
                logprobs = torch.log_softmax(model(input_ids=own).logits[0], dim=1).numpy()
            for number, position in enumerate(one.positions):
                expected = logprobs[position]
                at = slice(one.id_offsets[number], one.id_offsets[number + 1])
                stored = expected[[back[int(i)] for i in one.ids[at]]]
                np.testing.assert_allclose(one.logprobs[at], stored, atol=2e-3)
                np.testing.assert_allclose(stored, np.sort(expected)[::-1][:4], atol=1e-4)
                assert one.gold_logprob[number] == pytest.approx(expected[back[int(one.labels[number])]], abs=2e-3)


def test_documents_add_up_and_the_heldout_are_never_taught(taught: tuple[Recipe, Workdir, str]) -> None:
    recipe, workdir, path = taught
    for source in recipe.sources():
        m = read_sequence_manifest(workdir, source)
        assert m is not None
        assert m.read == m.used + m.duplicates + m.filtered + m.quarantined == 150
        targets = pl.read_parquet(Path(workdir.path(workdir.targets(source))) / "*.parquet")
        heldout = pl.read_parquet(Path(workdir.path(workdir.targets(source, heldout=True))) / "*.parquet")
        assert not set(targets["document"]) & set(heldout["document"])
        assert all(is_heldout(document, recipe.sequences.heldout) for document in heldout["document"])
        assert m.heldout_documents == heldout["document"].n_unique()
    assert pipeline(["verify", path]) == 0


@pytest.mark.parametrize("encoding", ["sampled", "systematic"])
def test_drawn_targets_are_taught_verified_and_learnt_from(encoding: str, write_recipe: Callable[..., Path]) -> None:
    path = str(write_recipe(targets={"encoding": encoding, "draws": 12, "heldout_k": 16}))
    assert vocab(["build", path]) == 0
    for command in ("shard", "teach", "verify"):
        assert pipeline([command, path, "--lang", "hi"]) == 0
    recipe = load_recipe(path)
    workdir = Workdir(recipe.workdir)
    manifest = read_manifest(workdir, "targets/uni/hi")
    assert manifest is not None
    assert (manifest.encoding, manifest.k) == (encoding, 12)
    rows = read_shard(workdir, f"targets/uni/hi/{manifest.shards[0].name}")
    sums = np.add.reduceat(rows.draws.astype(int), rows.id_offsets[:-1])
    assert (sums == 12).all()  # this teacher has no token that is dropped
    heldout = read_manifest(workdir, "targets/uni/hi/heldout")
    assert heldout is not None
    assert (heldout.encoding, heldout.k) == ("top-k", 16)
    more = ["--set", "training.steps=3"]
    assert pipeline(["teach", path]) == 2  # the Spanish is not cut yet
    assert pipeline(["shard", path]) == pipeline(["teach", path]) == 0
    assert student(["train", path, *more]) == 0
    assert student(["evaluate", path, *more]) == 0


def test_two_teachers_of_a_language_see_the_same_documents(taught: tuple[Recipe, Workdir, str]) -> None:
    _, workdir, _ = taught
    seen = [
        set(read_sequences(workdir, f"{folder}/{name}").document.tolist())
        for folder in (workdir.sequences(Source("wp", "es"), True), workdir.sequences(Source("bpe", "es"), True))
        for name in ["part-00000-of-00001.parquet"]
    ]
    assert seen[0] == seen[1]


def test_a_second_run_does_nothing_and_says_so(
    taught: tuple[Recipe, Workdir, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, workdir, path = taught
    before = files(workdir, "")
    capsys.readouterr()
    for command in (["shard", path], ["teach", path]):
        assert pipeline(command) == 0
        assert capsys.readouterr().out.count("up to date") == 3
    assert vocab(["build", path]) == 0
    assert "up to date" in capsys.readouterr().out
    assert files(workdir, "") == before


def test_what_is_missing_is_made_again_with_the_same_bytes(taught: tuple[Recipe, Workdir, str]) -> None:
    _, workdir, path = taught
    before = files(workdir, "targets")
    for place in ("targets/wp/es", "targets/uni/hi"):
        shard = sorted(Path(workdir.path(place)).glob("part-*"))[0]
        shard.unlink()
    assert pipeline(["teach", path]) == 0
    assert files(workdir, "targets") == before


def test_sequences_do_not_depend_on_how_the_text_is_cut_into_files(
    write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    path = str(write_recipe())
    assert pipeline(["shard", path, "--lang", "hi"]) == 0
    lines = (tmp_path / "hi.txt").read_text().splitlines()
    (tmp_path / "split").mkdir()
    for number in range(3):
        (tmp_path / "split" / f"{2 - number}.txt").write_text("\n".join(lines[number::3] + lines[:5]) + "\n")
    languages = {"hi": {"teachers": ["uni"], "corpora": [str(tmp_path / "split")]}}
    other = str(write_recipe(languages=languages, workdir=str(tmp_path / "other")))
    assert pipeline(["shard", other, "--lang", "hi"]) == 0
    one, two = (
        sorted(
            row
            for file in Path(tmp_path / work / "sequences/uni/hi").glob("*.parquet")
            for row in pl.read_parquet(file).rows()
        )
        for work in ("work", "other")
    )
    assert [row[:2] for row in one] == [row[:2] for row in two]
    m = read_sequence_manifest(Workdir(str(tmp_path / "other")), Source("uni", "hi"))
    assert m is not None
    assert m.duplicates == 15


def test_one_language_at_a_time_and_a_remote_workdir(write_recipe: Callable[..., Path]) -> None:
    path = str(write_recipe(workdir="memory://jobs"))
    assert vocab(["build", path]) == 0
    assert pipeline(["shard", path, "--lang", "hi"]) == 0
    assert pipeline(["teach", path, "--lang", "hi"]) == 0
    workdir = Workdir("memory://jobs")
    assert read_manifest(workdir, "targets/uni/hi").complete  # type: ignore[union-attr]
    assert not workdir.exists("sequences/wp")


def test_dataflow_jobs_can_be_built_without_a_network(
    taught: tuple[Recipe, Workdir, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apache_beam.runners.dataflow.internal.apiclient", reason="needs the gcp extra")
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
    from apache_beam.portability import common_urns
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    monkeypatch.setenv("NO_GCE_CHECK", "true")
    built, images = [], []
    run = DataflowRunner.run_pipeline

    def keep(self: DataflowRunner, pipeline: beam.Pipeline, options: PipelineOptions) -> object:
        images.append(options.view_as(WorkerOptions).sdk_container_image)
        built.append(pipeline.to_runner_api())
        return run(self, pipeline, options)

    monkeypatch.setattr(DataflowRunner, "run_pipeline", keep)
    _, workdir, path = taught
    workdir.remove("targets/uni/hi")
    workdir.remove("sequences/uni/hi")
    options = [
        "--dry_run=True", "--project=merge-test-project", "--region=europe-west4",
        "--temp_location=gs://merge-test-bucket/tmp", "--staging_location=gs://merge-test-bucket/staging",
    ]  # fmt: skip
    image = ["--set", "dataflow.image=europe-docker.pkg.dev/merge-test-project/images/teach:1"]
    assert pipeline(["shard", path, "--lang", "hi", "--runner", "DataflowRunner", *image, "--", *options]) == 2
    assert pipeline(["shard", path, "--lang", "hi"]) == 0
    assert pipeline(["teach", path, "--lang", "hi", "--runner", "DataflowRunner", *image, "--", *options]) == 2
    assert len(built) == 2
    assert "Tokenize, pack, write" in str(built[0])
    hints = [dict(environment.resource_hints) for environment in built[1].components.environments.values()]
    accelerator = common_urns.resource_hints.ACCELERATOR.urn
    assert any(b"nvidia-tesla-t4" in found.get(accelerator, b"") for found in hints)
    assert images == [image[1].partition("=")[2]] * 2
