"""The teach job: Create(shards not yet done) → Reshuffle → teach one shard. Results are files, nothing else.

That one chain, without side outputs, runs unchanged on every Beam runner, and makes a shard the unit of
retry and of resume.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam

from pipeline.progress import ShardProgress
from pipeline.runner import build_pipeline, run_and_wait
from pipeline.sequences import read_sequence_manifest, read_sequences
from recipe import MergeDistillError, Recipe, Source, StaleError, Workdir, fingerprint, shard_name
from targets import Manifest, ShardInfo, ShardRow, read_manifest, write_shard
from targets.manifest import finished_rows
from vocab.store import read_vocabulary


@dataclass(frozen=True)
class Split:
    """The taught or the held-out part of one source: its folders, fingerprints and number of shards."""

    source: Source
    heldout: bool
    shards: int
    k: int
    fingerprints: dict[str, str]
    vocabulary_size: int
    encoding: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.fingerprints)

    def folder(self, workdir: Workdir) -> str:
        return workdir.targets(self.source, self.heldout)

    def names(self) -> list[str]:
        return [shard_name(number, self.shards) for number in range(self.shards)]

    def info(self, shard: int) -> ShardInfo:
        return ShardInfo(
            teacher=self.source.teacher,
            language=self.source.language,
            shard=shard,
            shards=self.shards,
            vocabulary_size=self.vocabulary_size,
            encoding=self.encoding,
            k=self.k,
            fingerprint=self.fingerprint,
            fingerprints=self.fingerprints,
        )

    def manifest(self, rows: dict[str, ShardRow]) -> Manifest:
        return Manifest(
            teacher=self.source.teacher,
            language=self.source.language,
            fingerprint=self.fingerprint,
            fingerprints=self.fingerprints,
            vocabulary_size=self.vocabulary_size,
            encoding=self.encoding,
            k=self.k,
            total=self.shards,
            shards=tuple(rows[name] for name in self.names() if name in rows),
        )


class Task(NamedTuple):
    """One shard to teach."""

    split: Split
    shard: int


class Failure(NamedTuple):
    """A shard that could not be taught; `mendable` when the user's input is the cause."""

    shard: str
    error: str
    mendable: bool


@dataclass(frozen=True)
class TeachSummary:
    """What one run of the job did for one source."""

    source: Source
    taught: int
    skipped: int
    rows: int
    positions: int
    bytes: int
    seconds: float
    failures: tuple[Failure, ...]

    def __str__(self) -> str:
        if not self.taught and not self.failures:
            return f"{self.source}: up to date, {self.skipped} shards"
        return (
            f"{self.source}: {self.taught} shards taught, {self.skipped} were done; {self.rows:,} sequences, "
            f"{self.positions:,} positions, {self.bytes / 1e6:.1f} MB in {self.seconds:.0f} s"
            + (f"; {len(self.failures)} shards FAILED" if self.failures else "")
        )


def plan_splits(recipe: Recipe, workdir: Workdir, source: Source) -> tuple[Split, ...]:
    """The splits of a source as the recipe and the sequences on disk now define them."""
    from pipeline.teacher import teacher_fingerprint

    vocabulary = read_vocabulary(workdir, recipe)
    manifest = read_sequence_manifest(workdir, source)
    if manifest is None:
        raise StaleError(
            f"{source}: there are no finished sequences in {workdir.path(workdir.sequences(source))}; "
            f"run `python -m pipeline shard RECIPE --lang {source.language}` first"
        )
    shared = {
        "vocabulary": vocabulary.remap_fingerprint(source.teacher),
        "teacher": teacher_fingerprint(recipe.teachers[source.teacher]),
        "sequences": manifest.fingerprint,
        "masking": fingerprint({**recipe.masking.model_dump(), "seed": recipe.seed}),
    }
    encoding = recipe.targets.encoding
    splits = []
    for heldout, shards, k in (
        (False, manifest.shards, recipe.targets.k),
        (True, manifest.heldout_shards, recipe.targets.heldout_k),
    ):
        if shards:
            prints = {**shared, "encoding": fingerprint({"encoding": encoding, "k": k})}
            splits.append(Split(source, heldout, shards, k, prints, vocabulary.size, encoding))
    return tuple(splits)


def teach(
    recipe: Recipe, workdir: Workdir, source: Source, runner: str, beam_args: list[str], force: bool = False
) -> TeachSummary:
    """Teach the shards of one source that are not done yet, on the given Beam runner.

    Raises StaleError where targets made from something else are in the way and `force` is off.
    """
    started = time.monotonic()
    splits = plan_splits(recipe, workdir, source)
    if force:
        workdir.remove(workdir.targets(source))
    tasks: list[Task] = []
    skipped = 0
    for split in splits:
        _refuse_stale(workdir, split)
        done = finished_rows(workdir, split.folder(workdir), split.fingerprint, split.names())
        missing = [number for number, name in enumerate(split.names()) if name not in done]
        tasks += [Task(split, number) for number in missing]
        skipped += len(done)
        if missing:
            split.manifest(done).write(workdir, split.folder(workdir))
    if not tasks:
        return _summary(source, workdir, splits, 0, skipped, started, ())

    failures_folder = f"quarantine/teach/{source.language}"
    for task in tasks:
        workdir.remove(f"{failures_folder}/{_failure_name(task)}")
    if runner == "DirectRunner":
        _lesson(
            recipe.model_dump_json(), workdir, source.teacher, tasks[0].split.k
        )  # a bad teacher fails here, at once
    pipeline = build_pipeline(runner, beam_args, recipe)
    lessons = beam.ParDo(TeachShard(recipe, workdir))
    if recipe.dataflow.accelerator and runner == "DataflowRunner":
        lessons = lessons.with_resource_hints(accelerator=recipe.dataflow.accelerator)
    _ = pipeline | "Shards" >> beam.Create(tasks) | beam.Reshuffle() | "Teach" >> lessons
    with ShardProgress(
        workdir, [(task.split.folder(workdir), task.split.names()[task.shard]) for task in tasks], str(source)
    ):
        run_and_wait(pipeline)

    failures = []
    for task in tasks:
        record = workdir.read_json(f"{failures_folder}/{_failure_name(task)}")
        if record is not None:
            failures.append(Failure(**record))
    return _summary(source, workdir, splits, len(tasks) - len(failures), skipped, started, tuple(failures))


class TeachShard(beam.DoFn):
    """Teach one shard and write it. A failure becomes a file too: the job goes on with the other shards."""

    def __init__(self, recipe: Recipe, workdir: Workdir) -> None:
        self._recipe_json, self._workdir = recipe.model_dump_json(), workdir

    def process(self, task: Task) -> Iterator[str]:
        split, name = task.split, task.split.names()[task.shard]
        try:
            from pipeline.teach import teach_shard

            lesson = _lesson(self._recipe_json, self._workdir, split.source.teacher, split.k)
            path = f"{self._workdir.sequences(split.source, split.heldout)}/{name}"
            rows = teach_shard(read_sequences(self._workdir, path), lesson)
            write_shard(self._workdir, split.folder(self._workdir), rows, split.info(task.shard))
            yield name
        except Exception as error:
            mendable = isinstance(error, MergeDistillError)
            text = str(error) if mendable else traceback.format_exc()
            failure = Failure(f"{split.folder(self._workdir)}/{name}", text, mendable)
            self._workdir.write_json(
                f"quarantine/teach/{split.source.language}/{_failure_name(task)}", failure._asdict()
            )


@functools.lru_cache(maxsize=2)
def _lesson(recipe_json: str, workdir: Workdir, teacher: str, k: int) -> Any:
    from pipeline.teach import make_lesson

    recipe = Recipe.model_validate_json(recipe_json)
    return make_lesson(recipe, _teacher(recipe_json, teacher), read_vocabulary(workdir, recipe), k)


@functools.lru_cache(maxsize=1)
def _teacher(recipe_json: str, name: str) -> Any:
    from pipeline.teacher import load_teacher

    recipe = Recipe.model_validate_json(recipe_json)
    return load_teacher(name, recipe.teachers[name], recipe.teaching.device)


def _failure_name(task: Task) -> str:
    part = "heldout-" if task.split.heldout else ""
    return f"{task.split.source.teacher}-{part}{shard_name(task.shard, task.split.shards)}.jsonl"


def _refuse_stale(workdir: Workdir, split: Split) -> None:
    existing = read_manifest(workdir, split.folder(workdir))
    if existing is None or existing.fingerprint == split.fingerprint:
        return
    changed = [name for name, value in split.fingerprints.items() if existing.fingerprints.get(name) != value]
    raise StaleError(
        f"{workdir.path(split.folder(workdir))}: was made from another {' and '.join(changed)}; "
        f"to teach it again: python -m pipeline teach RECIPE --lang {split.source.language} "
        f"--teacher {split.source.teacher} --force"
    )


def _summary(
    source: Source,
    workdir: Workdir,
    splits: tuple[Split, ...],
    taught: int,
    skipped: int,
    started: float,
    failures: tuple[Failure, ...],
) -> TeachSummary:
    rows: list[ShardRow] = []
    for split in splits:
        done = finished_rows(workdir, split.folder(workdir), split.fingerprint, split.names())
        if taught:
            split.manifest(done).write(workdir, split.folder(workdir))
        rows += done.values()
    return TeachSummary(
        source=source,
        taught=taught,
        skipped=skipped,
        rows=sum(row.rows for row in rows),
        positions=sum(row.positions for row in rows),
        bytes=sum(row.bytes for row in rows),
        seconds=time.monotonic() - started,
        failures=failures,
    )
