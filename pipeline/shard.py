"""The shard job: corpora → documents → shard by hash → tokenize, pack, one Parquet file a shard.

What the job is and how far it is lies in `job.json` and count files beside the shards, so a killed job goes on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipeline.corpus import content_identity, find_files, split_extents
from pipeline.progress import FileProgress
from pipeline.runner import LOCAL_RUNNERS, build_pipeline, run_and_wait
from pipeline.sequences import VERSION, SequenceManifest, Sequences, read_sequence_manifest, write_sequences
from pipeline.shard_steps import (
    HELDOUT,
    MergeParagraphs,
    ReadExtent,
    ShardJob,
    SpillExtent,
    WriteGroup,
    WriteStretch,
    first_of_group,
    join_pieces,
    load_packer,
    pack,
)
from pipeline.spill import read_stretch
from pipeline.survey import survey
from recipe import CorpusError, MergeDistillError, Recipe, Source, StaleError, Workdir, fingerprint, shard_name

_SAMPLED_PIECES = 4000
_STRETCH_CHARS = 1 << 24


@dataclass(frozen=True)
class ShardSummary:
    """What one run of the job made for one source, or found made."""

    source: Source
    manifest: SequenceManifest
    seconds: float | None

    def __str__(self) -> str:
        m = self.manifest
        if self.seconds is None:
            return f"{self.source}: up to date, {m.shards} shards"
        paragraphs = f", {m.duplicate_paragraphs:,} duplicate paragraphs" if m.duplicate_paragraphs else ""
        return (
            f"{self.source}: {m.sequences:,} sequences, {m.tokens:,} tokens in {m.shards} shards, "
            f"{100 * m.padding_share:.1f} % short of full windows, {m.heldout_sequences:,} sequences held out; "
            f"documents: {m.read:,} read = {m.used:,} used + {m.duplicates:,} duplicates + {m.filtered:,} filtered + "
            f"{m.quarantined:,} quarantined{paragraphs}; {self.seconds:.0f} s"
        )


def shard(
    recipe: Recipe, workdir: Workdir, source: Source, runner: str, beam_args: list[str], force: bool = False
) -> ShardSummary:
    """Make the sequence shards of one source, unless they are there; what a killed run made is kept.

    Raises CorpusError for corpora that are missing or damaged, StaleError where sequences of other text or
    settings are in the way and `force` is off.
    """
    started = time.monotonic()
    files = find_files(recipe.languages[source.language].corpora)
    identities = [content_identity(file) for file in files]
    recipe_json = recipe.model_dump_json()
    prints = {
        "corpora": fingerprint(identities),
        "settings": fingerprint({**recipe.sequences.model_dump(), "version": VERSION}),
        "tokenizer": load_packer(recipe_json, source.teacher)[3],
    }
    if not force and (existing := _finished(workdir, source, prints)):
        return ShardSummary(source, existing, None)

    whole = recipe.sequences.documents != "line"
    extents = [extent for file in files for extent in split_extents(file, whole)]
    with ExitStack() as stack:
        stack.enter_context(workdir.lock(workdir.sequences(source)))
        workdir.remove_temporary(workdir.sequences(source))
        local = runner == "DirectRunner" or (runner in LOCAL_RUNNERS and workdir.is_local)
        _begin(workdir, source, {"fingerprints": prints, "extents": len(extents), "local": local}, force)
        if local and not workdir.is_local:
            spill = stack.enter_context(tempfile.TemporaryDirectory(prefix="mergedistill-"))
            workdir.remove(f"{workdir.sequences(source)}/counts")
        else:
            spill = workdir.path(workdir.sequences(source), "spill")
        job = ShardJob(recipe_json, workdir, source, spill)
        run = _LocalRun(job, runner, beam_args, recipe) if local else None
        try:
            shards = run.run(extents) if run else _run_distributed(job, runner, beam_args, recipe, extents, files)
            manifest = _fold(job, prints, identities, shards)
        except CorpusError:
            # The text must change before the job can go on, so nothing of this one is of use.
            workdir.remove(workdir.sequences(source))
            raise
        manifest.write(workdir, source)
        for name in ("counts", "spill", "job.json"):
            workdir.remove(f"{workdir.sequences(source)}/{name}")
    return ShardSummary(source, manifest, time.monotonic() - started)


def _finished(workdir: Workdir, source: Source, prints: dict[str, str]) -> SequenceManifest | None:
    """The manifest of shards that are all there and were made of the same; StaleError if they were made of other."""
    existing = read_sequence_manifest(workdir, source)
    if existing is None:
        return None
    if existing.fingerprints != prints:
        changed = [name for name, value in prints.items() if existing.fingerprints.get(name) != value]
        raise StaleError(
            f"{workdir.path(workdir.sequences(source))}: was made with other {' and '.join(changed)} than the recipe "
            f"now says; to make it again: python -m pipeline shard RECIPE --lang {source.language} "
            f"--teacher {source.teacher} --force"
        )
    heldout = workdir.sizes(workdir.sequences(source, heldout=True))
    sizes = workdir.sizes(workdir.sequences(source)) | {f"heldout/{name}": size for name, size in heldout.items()}
    return existing if existing.files.items() <= sizes.items() else None


def _begin(workdir: Workdir, source: Source, plan: dict[str, Any], force: bool) -> None:
    """Keep what an unfinished run of the same job left behind, and nothing else."""
    path = f"{workdir.sequences(source)}/job.json"
    if force or not plan["local"] or workdir.read_json(path) != plan:
        workdir.remove(workdir.sequences(source))
        workdir.remove(f"quarantine/shard/{source.language}/{source.teacher}")
        workdir.write_json(path, plan)


@dataclass(frozen=True)
class _LocalRun:
    """The job as steps of Create → Reshuffle → ParDo, each over what is not done yet."""

    job: ShardJob
    runner: str
    beam_args: list[str]
    recipe: Recipe

    def run(self, extents: Sequence[Any]) -> int:
        """Run all steps and return the number of shards."""
        self._step("extent", list(enumerate(extents)), SpillExtent(self.job), "reading")
        raise_failures(self.job, len(extents))
        counts = read_counts(self.job, "extent").values()
        if self.job.settings.deduplicate == "paragraph":
            stretches = max(1, sum(record["chars"] for record in counts) // _STRETCH_CHARS)
            self._step("paragraphs", list(range(stretches)), MergeParagraphs(self.job, stretches), "paragraphs")
            counts = read_counts(self.job, "paragraphs").values()
        shards = self._number_of_shards(sum(record["pieces"] for record in counts))
        self._step("shard", list(range(shards)), WriteStretch(self.job, shards), "shards")
        if self.job.chunks("heldout"):
            self._step("heldout", [HELDOUT], WriteStretch(self.job, shards), "held out")
        return shards

    def _step(self, name: str, tasks: list[Any], work: beam.DoFn, title: str) -> None:
        done = {n for n, record in read_counts(self.job, name).items() if "error" not in record}
        missing = {_number(task): task for task in tasks if _number(task) not in done}
        if not missing:
            return
        paths = [self.job.count_path(name, number) for number in missing]
        for path in paths:
            self.job.workdir.remove(path)
        pipeline = build_pipeline(self.runner, self.beam_args, self.recipe, len(missing))
        _ = pipeline | beam.Create(list(missing.values())) | beam.Reshuffle() | title >> beam.ParDo(work)
        with FileProgress(self.job.workdir, paths, f"{self.job.source} {title}"):
            run_and_wait(pipeline)

    def _number_of_shards(self, pieces: int) -> int:
        """Shards of about `shard_size` sequences, from the documents of the first places, which are a fair sample."""
        places = min(1 << 32, (_SAMPLED_PIECES << 32) // max(pieces, 1))
        documents, texts, _ = join_pieces(read_stretch(self.job.chunks("text"), 0, places))
        sampled = len(pack(documents, texts, self.job.recipe_json, self.job.source.teacher))
        return max(1, round(sampled / places * (1 << 32) / self.job.settings.shard_size))


def _run_distributed(
    job: ShardJob, runner: str, beam_args: list[str], recipe: Recipe, extents: Sequence[Any], files: Sequence[Any]
) -> int:
    """The job as one graph that the runner shuffles by itself; returns the number of shards."""
    found = survey(recipe, job.source, files)
    shards = max(1, round(found.sequences * (1.0 - recipe.sequences.heldout) / recipe.sequences.shard_size))
    pipeline = build_pipeline(runner, beam_args, recipe)
    pieces: Any = (
        pipeline
        | "Extents" >> beam.Create(list(enumerate(extents)))
        | beam.Reshuffle()
        | "Read and clean" >> beam.ParDo(ReadExtent(job, shards))
    )
    if recipe.sequences.deduplicate == "paragraph":
        pieces = (
            pieces
            | "Equal paragraphs" >> beam.GroupByKey()
            | "Keep the first" >> beam.Map(lambda group: first_of_group(job, shards, group))
        )
    _ = (
        pieces
        | "Shard and de-duplicate" >> beam.GroupByKey()
        | "Tokenize, pack, write" >> beam.ParDo(WriteGroup(job, shards))
    )
    run_and_wait(pipeline)
    raise_failures(job, len(extents))
    return shards


def read_counts(job: ShardJob, step: str) -> dict[int, dict[str, Any]]:
    """Number → count record of a step's finished tasks."""
    names = sorted(name for name in job.workdir.sizes(f"{job.folder}/counts") if name.startswith(f"{step}-"))
    return {
        int(name.removesuffix(".json").rpartition("-")[2]): job.workdir.read_json(f"{job.folder}/counts/{name}")
        for name in names
    }


def raise_failures(job: ShardJob, extents: int) -> None:
    """Raise the first failure of an extent, or MergeDistillError if some were not read at all."""
    counts = read_counts(job, "extent")
    for record in counts.values():
        if "error" in record:
            raise CorpusError(record["error"])
    if len(counts) != extents:
        raise MergeDistillError(
            f"{job.source}: {extents - len(counts)} of {extents} extents were not read; run the job again"
        )


def _number(task: Any) -> int:
    return max(task[0] if isinstance(task, tuple) else task, 0)


def _fold(job: ShardJob, prints: dict[str, str], corpora: list[dict[str, Any]], shards: int) -> SequenceManifest:
    """Sum the count files into a manifest; write shards that got no document."""
    workdir, source, settings = job.workdir, job.source, job.settings
    read, taught, heldout = (list(read_counts(job, step).values()) for step in ("extent", "shard", "heldout"))
    made = [*taught, *heldout]
    if not sum(record["sequences"] for record in taught):
        raise CorpusError(
            f"languages.{source.language}.corpora: no document of {sum(r['read'] for r in read):,} can be used; see "
            f"{workdir.path(f'quarantine/shard/{source.language}/{source.teacher}')}, sequences.min_chars"
            + (" and sequences.scripts" if settings.scripts else "")
        )
    written = {record["file"]: record["bytes"] for record in made}
    for number in range(shards):
        name = shard_name(number, shards)
        if name not in written:
            written[name] = write_sequences(workdir, f"{job.folder}/{name}", Sequences.concatenate([]), {})
    totals = {name: sum(record[name] for record in read) for name in ("read", "filtered", "quarantined", "pieces")}
    used = sum(record["used"] for record in made)
    again = totals["pieces"] - sum(record["pieces"] for record in made)
    sequences = sum(record["sequences"] for record in taught)
    tokens = sum(record["tokens"] for record in taught)
    return SequenceManifest(
        fingerprint=fingerprint(prints),
        fingerprints=prints,
        corpora=corpora,
        shards=shards,
        heldout_shards=1 if sum(record["sequences"] for record in heldout) else 0,
        read=totals["read"],
        used=used,
        duplicates=totals["read"] - totals["filtered"] - totals["quarantined"] - used,
        duplicate_paragraphs=again if settings.deduplicate == "paragraph" else 0,
        filtered=totals["filtered"],
        quarantined=totals["quarantined"],
        heldout_documents=sum(record["used"] for record in heldout),
        sequences=sequences,
        tokens=tokens,
        heldout_sequences=sum(record["sequences"] for record in heldout),
        padding_share=1.0 - tokens / (sequences * settings.max_length),
        files=dict(sorted(written.items())),
    )
