"""What goes wrong while teaching: bad output, too little memory, killed workers, killed jobs, damaged shards."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import sequences, teach
from pipeline.__main__ import main as pipeline
from pipeline.device import claim_slot
from pipeline.status import status_table
from recipe import Source, TeacherError, Workdir, load_recipe
from tests.conftest import make_teacher, make_text
from vocab.__main__ import main as vocab

UNI = Source("uni", "hi")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cut(write_recipe: Callable[..., Path]) -> str:
    """A recipe whose Hindi is cut into sequence shards."""
    path = str(write_recipe())
    assert vocab(["build", path]) == 0
    assert pipeline(["shard", path, "--lang", "hi"]) == 0
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lesson_and_sequences(path: str) -> tuple[Any, Any]:
    from pipeline.teacher import load_teacher
    from vocab.store import read_vocabulary

    recipe = load_recipe(path)
    workdir = Workdir(recipe.workdir)
    loaded = load_teacher("uni", recipe.teachers["uni"], recipe.teaching)
    first = sorted(workdir.sizes(workdir.sequences(UNI)))
    name = next(name for name in first if name.startswith("part-"))
    shard = sequences.read_sequences(workdir, f"{workdir.sequences(UNI)}/{name}")
    return teach.make_lesson(recipe, loaded, read_vocabulary(workdir, recipe), 4), shard


def test_a_shard_with_bad_output_is_tried_again_recorded_and_left(
    cut: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = teach.teach_shard, []

    def sometimes(shard: Any, lesson: Any) -> Any:
        calls.append(int(shard.sequence_id[0]))
        if calls[-1] == calls[0]:
            raise TeacherError("teachers.uni: the model gives NaN or infinite logits; try dtype: float32")
        return real(shard, lesson)

    monkeypatch.setattr(teach, "teach_shard", sometimes)
    assert pipeline(["teach", cut, "--lang", "hi"]) == 1
    said = capsys.readouterr()
    assert "1 shards FAILED" in said.out
    assert "NaN" in said.err
    assert calls.count(calls[0]) == load_recipe(cut).teaching.attempts == 2
    workdir = Workdir(load_recipe(cut).workdir)
    table = status_table(load_recipe(cut), workdir, (UNI,))
    line = dict(zip(table[0], table[1], strict=True))
    assert (line["failed"], line["state"]) == ("1", "unfinished")
    monkeypatch.setattr(teach, "teach_shard", real)
    assert pipeline(["teach", cut, "--lang", "hi"]) == 0
    table = status_table(load_recipe(cut), workdir, (UNI,))
    line = dict(zip(table[0], table[1], strict=True))
    assert (line["failed"], line["state"]) == ("0", "done")


def test_batches_that_do_not_fit_are_halved_until_they_do(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson, shard = lesson_and_sequences(cut)
    whole = teach.teach_shard(shard, lesson)
    real, sizes = teach._ask, []

    def small(masked: Any, rows: Any, places: Any, asked: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(masked, rows, places, asked)

    monkeypatch.setattr(teach, "_ask", small)
    halved = teach.teach_shard(shard, lesson)
    assert np.array_equal(whole.ids, halved.ids)
    np.testing.assert_allclose(whole.logprobs, halved.logprobs, atol=1e-4)
    assert max(sizes) > 6
    sizes.clear()
    teach.teach_shard(shard, lesson)
    assert sizes[0] <= 12  # what was learnt holds for the next shard


def test_a_sequence_that_never_fits_is_one_line(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson, shard = lesson_and_sequences(cut)

    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(teach, "_ask", never)
    with pytest.raises(TeacherError, match="no memory for a single sequence"):
        teach.teach_shard(shard, lesson)


def test_verify_names_a_damaged_shard_and_the_command_that_mends_only_it(
    cut: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline(["teach", cut, "--lang", "hi"]) == 0
    folder = Path(load_recipe(cut).workdir) / "targets/uni/hi"
    before = contents(folder)
    for name in (sorted(folder.glob("part-*"))[1], next((folder / "heldout").glob("part-*"))):
        content = bytearray(name.read_bytes())
        content[len(content) // 3] ^= 0xFF
        name.write_bytes(content)
    kept = sorted(folder.glob("part-*"))[0].stat().st_mtime_ns
    capsys.readouterr()
    assert pipeline(["verify", cut, "--lang", "hi"]) == 2
    commands = re.findall(r"mend: python -m pipeline (.*)", capsys.readouterr().out)
    assert len(commands) == 2
    for command in commands:
        assert pipeline(command.split()) == 0
    assert contents(folder) == before
    assert sorted(folder.glob("part-*"))[0].stat().st_mtime_ns == kept
    assert pipeline(["verify", cut, "--lang", "hi"]) == 0
    assert pipeline(["teach", cut, "--lang", "hi", "--redo", "part-9"]) == 2


def test_a_job_killed_before_its_manifest_was_whole_is_finished_by_the_next(cut: str) -> None:
    assert pipeline(["teach", cut, "--lang", "hi"]) == 0
    folder = Path(load_recipe(cut).workdir) / "targets/uni/hi"
    before = contents(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"] = manifest["shards"][:1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / ".part-00000-of-00003.parquet.0123.tmp").write_bytes(b"half")
    assert pipeline(["teach", cut, "--lang", "hi"]) == 0
    assert contents(folder) == before


def test_a_plan_is_close_to_what_is_then_made(cut: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert pipeline(["plan", cut, "--lang", "hi", "--workers", "4"]) == 0
    planned = capsys.readouterr().out
    assert "with 4 workers" in planned
    Path(load_recipe(cut).workdir).joinpath("sequences").rename(Path(load_recipe(cut).workdir) / "aside")
    assert pipeline(["plan", cut, "--lang", "hi"]) == 0
    before_shards = capsys.readouterr().out
    Path(load_recipe(cut).workdir).joinpath("aside").rename(Path(load_recipe(cut).workdir) / "sequences")
    assert pipeline(["teach", cut, "--lang", "hi"]) == 0
    manifest = Workdir(load_recipe(cut).workdir).read_json("targets/uni/hi/manifest.json")
    positions = sum(row["positions"] for row in manifest["shards"])
    for said in (planned, before_shards):
        guess = int(re.search(r"([\d,]+) masked positions", said)[1].replace(",", ""))  # type: ignore[index]
        assert guess == pytest.approx(positions, rel=0.15)


def test_each_process_claims_a_device_of_its_own(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pipeline.device import claim_slot\n"
        "print(claim_slot(3, sys.argv[1]), flush=True); time.sleep(30)"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(3)
    ]
    try:
        assert sorted(worker.stdout.readline().strip() for worker in workers if worker.stdout) == ["0", "1", "2"]
        assert claim_slot(3, str(tmp_path)) == os.getpid() % 3
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert claim_slot(3, str(tmp_path)) == 0


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A job of many shards that takes a few seconds, and the folder of its recipe."""
    folder = tmp_path_factory.mktemp("slow")
    make_teacher(folder / "teacher", "wordpiece", "es", hidden_size=128, num_hidden_layers=3)
    (folder / "es.txt").write_text("\n".join(make_text("es", 1500)), encoding="utf-8")
    (folder / "r.yaml").write_text(
        f"name: slow\nworkdir: {folder}/work\nteachers: {{t: {{model: {folder}/teacher}}}}\n"
        f"languages: {{es: {{teachers: [t], corpora: ['{folder}/es.txt']}}}}\n"
        "sequences: {max_length: 32, shard_size: 128}\n"
    )
    assert vocab(["build", str(folder / "r.yaml")]) == 0
    return folder, str(folder / "r.yaml")


def start(command: str, path: str, workdir: Path, *options: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "pipeline", command, path, "--workdir", str(workdir), *options]
    return subprocess.Popen(
        arguments, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_killed_jobs_end_with_the_bytes_of_an_uninterrupted_one(slow: tuple[Path, str], tmp_path: Path) -> None:
    """Both jobs, killed −9 at random moments; benchmarks/kills.py does the same fifty times."""
    from benchmarks.kills import run_killed

    folder, path = slow
    for job in ("shard", "teach"):
        assert pipeline([job, path]) == 0
    whole = tmp_path / "killed"
    (whole / "vocab").parent.mkdir()
    (whole / "vocab").symlink_to(folder / "work/vocab")
    kills = sum(run_killed(job, path, whole, random.Random(job), at_most=3) for job in ("shard", "teach"))
    assert kills >= 2
    for part in ("sequences", "targets"):
        assert contents(whole / part) == contents(folder / "work" / part)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the worker processes")
def test_a_killed_worker_ends_the_job_with_a_clear_line(slow: tuple[Path, str], tmp_path: Path) -> None:
    folder, path = slow
    if not (folder / "work/sequences/t/es/manifest.json").exists():
        assert pipeline(["shard", path]) == 0
    for part in ("vocab", "sequences"):
        (tmp_path / part).symlink_to(folder / "work" / part)
    options = ("--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    job = start("teach", path, tmp_path, *options)
    try:
        deadline = time.monotonic() + 90
        while not (workers := _workers(job.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(workers[-1], signal.SIGKILL)
        said, _ = job.communicate(timeout=90)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode == 1
    assert "a worker process was killed" in said
    assert "Traceback" not in said
    assert not _workers(job.pid)
    again = start("teach", path, tmp_path, *options)
    assert "shards taught" in again.communicate(timeout=120)[0]
    assert again.returncode == 0


def _workers(process: int) -> list[int]:
    """Python processes below this one that are Beam workers."""
    found = []
    for listing in Path(f"/proc/{process}/task").glob("*/children"):
        for child in listing.read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"sdk_worker_main" in command and not command.startswith(b"/bin/sh"):
                found.append(int(child))
            found += _workers(int(child))
    return found
