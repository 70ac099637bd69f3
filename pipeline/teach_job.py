"""The teach job: Create(shards not yet done) → Reshuffle → teach one shard. Results are files, nothing else.

That one chain, without side outputs, runs unchanged on every Beam runner, and makes a shard the unit of
retry and of resume.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.progress import FileProgress
from pipeline.runner import NAMESPACE, build_pipeline, is_in_process, run_and_wait
from pipeline.sequences import read_sequence_manifest, read_sequences
from recipe import MergeDistillError, Recipe, Source, StaleError, TargetsError, Workdir, fingerprint, shard_name
from targets import Manifest, ShardInfo, ShardRow, read_manifest, write_shard
from targets.manifest import finished_rows, row_path
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
    """A shard that could not be taught, after so many attempts; `mendable` where a damaged file is the cause."""

    shard: str
    error: str
    attempts: int
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
    counters: dict[str, int]
    failures: tuple[Failure, ...]

    def __str__(self) -> str:
        if not self.taught and not self.failures:
            return f"{self.source}: up to date, {self.skipped} shards"
        c = self.counters
        fill = f", batches {100 * c['tokens'] / c['padded_tokens']:.0f} % full" if c.get("padded_tokens") else ""
        return (
            f"{self.source}: {self.taught} shards taught, {self.skipped} were done; {self.rows:,} sequences, "
            f"{self.positions:,} positions, {self.bytes / 1e6:.1f} MB in {self.seconds:.0f} s{fill}"
            + (f"; {len(self.failures)} shards FAILED, to be tried again by the same command" if self.failures else "")
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
    splits = []
    for heldout, shards, k, encoding in (
        (False, manifest.shards, recipe.targets.size, recipe.targets.encoding),
        (True, manifest.heldout_shards, recipe.targets.heldout_k, "top-k"),
    ):
        if shards:
            prints = {**shared, "encoding": fingerprint({"encoding": encoding, "k": k})}
            splits.append(Split(source, heldout, shards, k, prints, vocabulary.size, encoding))
    return tuple(splits)


def teach(
    recipe: Recipe,
    workdir: Workdir,
    source: Source,
    runner: str,
    beam_args: list[str],
    force: bool = False,
    redo: tuple[str, ...] = (),
) -> TeachSummary:
    """Teach the shards of one source that are not done yet, on the given Beam runner; those of `redo` in any case.

    Raises StaleError where targets made from something else are in the way and `force` is off.
    """
    with workdir.lock(workdir.targets(source)):
        workdir.remove_temporary(workdir.targets(source))
        return _teach(recipe, workdir, source, runner, beam_args, force, redo)


def _teach(
    recipe: Recipe,
    workdir: Workdir,
    source: Source,
    runner: str,
    beam_args: list[str],
    force: bool,
    redo: tuple[str, ...],
) -> TeachSummary:
    started = time.monotonic()
    splits = plan_splits(recipe, workdir, source)
    if force:
        workdir.remove(workdir.targets(source))
    for name in redo:
        _forget(workdir, splits, name)
    tasks: list[Task] = []
    skipped = 0
    for split in splits:
        _refuse_stale(workdir, split)
        done = finished_rows(workdir, split.folder(workdir), split.fingerprint, split.names())
        missing = [number for number, name in enumerate(split.names()) if name not in done]
        tasks += [Task(split, number) for number in missing]
        skipped += len(done)
        known = read_manifest(workdir, split.folder(workdir))
        # A job that was killed at its very end has all shards, but not all of them in its manifest.
        if missing or known is None or len(known.shards) != len(done):
            split.manifest(done).write(workdir, split.folder(workdir))
    if not tasks:
        return _summary(source, workdir, splits, 0, skipped, started, {}, ())

    failures_folder = f"quarantine/teach/{source.language}"
    rows = [row_path(task.split.folder(workdir), task.split.names()[task.shard]) for task in tasks]
    for path in (*rows, *(f"{failures_folder}/{_failure_name(task)}" for task in tasks)):
        workdir.remove(path)
    if is_in_process(runner, beam_args):
        # A bad teacher fails here, at once.
        _lesson(recipe.model_dump_json(), workdir, source.teacher, tasks[0].split.k, tasks[0].split.encoding)
    pipeline = build_pipeline(runner, beam_args, recipe, len(tasks))
    lessons = beam.ParDo(TeachShard(recipe, workdir))
    if recipe.dataflow.accelerator and runner == "DataflowRunner":
        lessons = lessons.with_resource_hints(accelerator=recipe.dataflow.accelerator)
    _ = pipeline | "Shards" >> beam.Create(tasks) | beam.Reshuffle() | "Teach" >> lessons
    with FileProgress(workdir, rows, str(source)):
        counters = run_and_wait(pipeline)

    failures = []
    for task in tasks:
        record = workdir.read_json(f"{failures_folder}/{_failure_name(task)}")
        if record is not None:
            failures.append(Failure(**record))
    return _summary(source, workdir, splits, len(tasks) - len(failures), skipped, started, counters, tuple(failures))


class TeachShard(beam.DoFn):
    """Teach one shard and write it. A failure becomes a file too: the job goes on with the other shards."""

    def __init__(self, recipe: Recipe, workdir: Workdir) -> None:
        self._recipe_json, self._workdir, self._attempts = recipe.model_dump_json(), workdir, recipe.teaching.attempts

    def process(self, task: Task) -> Iterator[str]:
        split, name = task.split, task.split.names()[task.shard]
        for attempt in range(1, self._attempts + 1):
            try:
                self._teach(task)
                yield name
                return
            except Exception as error:
                text = str(error) if isinstance(error, MergeDistillError) else traceback.format_exc()
                mendable = isinstance(error, TargetsError)
                failure = Failure(f"{split.folder(self._workdir)}/{name}", text, attempt, mendable)
                if mendable:
                    break
        self._workdir.write_json(f"quarantine/teach/{split.source.language}/{_failure_name(task)}", failure._asdict())
        Metrics.counter(NAMESPACE, "shards_failed").inc()

    def _teach(self, task: Task) -> None:
        from pipeline.teach import teach_shard

        split, name = task.split, task.split.names()[task.shard]
        lesson = _lesson(self._recipe_json, self._workdir, split.source.teacher, split.k, split.encoding)
        before = replace(lesson.work)
        path = f"{self._workdir.sequences(split.source, split.heldout)}/{name}"
        rows = teach_shard(read_sequences(self._workdir, path), lesson)
        write_shard(self._workdir, split.folder(self._workdir), rows, split.info(task.shard))
        work = lesson.work
        for counter, count in (
            ("sequences", work.sequences - before.sequences),
            ("positions", work.positions - before.positions),
            ("tokens", work.tokens - before.tokens),
            ("padded_tokens", work.padded - before.padded),
            ("device_milliseconds", round(1000 * (work.device_seconds - before.device_seconds))),
        ):
            Metrics.counter(NAMESPACE, counter).inc(count)


@functools.lru_cache(maxsize=2)
def _lesson(recipe_json: str, workdir: Workdir, teacher: str, k: int, encoding: str) -> Any:
    from pipeline.teach import make_lesson

    recipe = Recipe.model_validate_json(recipe_json)
    return make_lesson(recipe, _teacher(recipe_json, teacher), read_vocabulary(workdir, recipe), k, encoding)


@functools.lru_cache(maxsize=1)
def _teacher(recipe_json: str, name: str) -> Any:
    from pipeline.teacher import load_teacher

    recipe = Recipe.model_validate_json(recipe_json)
    return load_teacher(name, recipe.teachers[name], recipe.teaching)


def _forget(workdir: Workdir, splits: tuple[Split, ...], name: str) -> None:
    """Remove one shard, by its name below the source's folder, so that it is taught again."""
    for split in splits:
        part = "heldout/" if split.heldout else ""
        if name in {f"{part}{each}" for each in split.names()}:
            folder, plain = split.folder(workdir), name.removeprefix(part)
            workdir.remove(row_path(folder, plain))
            workdir.remove(f"{folder}/{plain}")
            return
    raise TargetsError(f"{splits[0].source}: has no shard {name!r}; shards are named like {splits[0].names()[0]}")


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
    counters: dict[str, int],
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
        counters=counters,
        failures=failures,
    )
