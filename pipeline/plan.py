"""What teaching will cost, from a timed sample of each source, whether its corpora are cut into shards yet or not."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.corpus import find_files
from pipeline.sequences import SequenceManifest, Sequences, read_sequence_manifest, read_sequences
from pipeline.survey import survey
from pipeline.teach import make_lesson, teach_shard
from pipeline.teacher import load_teacher
from recipe import Recipe, Source, Workdir, shard_name
from targets import ShardInfo, TargetRows
from targets.rows import Array
from targets.schema import ROW_GROUP_ROWS
from targets.writer import encode_shard
from vocab.store import read_vocabulary

_SAMPLE_SEQUENCES = 256
_SAMPLE_SHARDS = 8


@dataclass(frozen=True)
class Estimate:
    """Expected cost of teaching one source from nothing, on one worker like this machine."""

    source: Source
    sequences: int
    positions: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.source}: {self.sequences:,} sequences, {self.positions:,} masked positions, "
            f"{self.bytes / 1e6:,.1f} MB of targets, {_hours(self.seconds)} on one worker like this machine"
        )


def total(estimates: Sequence[Estimate], workers: int) -> str:
    """The sum of all sources, and the time for a number of workers."""
    seconds = sum(each.seconds for each in estimates)
    return (
        f"all: {sum(each.positions for each in estimates):,} masked positions, "
        f"{sum(each.bytes for each in estimates) / 1e6:,.1f} MB of targets, {_hours(seconds)} of work: "
        f"{_hours(seconds / workers)} with {workers} worker{'s' * (workers != 1)} like this machine"
    )


def estimate(recipe: Recipe, workdir: Workdir, source: Source) -> Estimate:
    """Teach a sample of the source, all over its shards or its corpora, and scale up. Writes nothing."""
    lesson = make_lesson(
        recipe,
        load_teacher(source.teacher, recipe.teachers[source.teacher], recipe.teaching),
        read_vocabulary(workdir, recipe, pruned=False),
        recipe.targets.size,
        recipe.targets.encoding,
    )
    manifest = read_sequence_manifest(workdir, source)
    if manifest is not None:
        sample, sequences = _from_shards(workdir, source, manifest), float(manifest.sequences)
    else:
        found = survey(recipe, source, find_files(recipe.languages[source.language].corpora))
        sample = found.sample.take(_spread(len(found.sample), _SAMPLE_SEQUENCES))
        sequences = found.sequences * (1.0 - recipe.sequences.heldout)
    # The first batches of a process are slow; and with this few rows metadata would weigh too much in the bytes.
    teach_shard(sample.take(_spread(len(sample), 16)), lesson)
    info = ShardInfo(
        source.teacher, source.language, 0, 1, 1 << 24, recipe.targets.encoding, recipe.targets.size, "", {}
    )
    started = time.perf_counter()
    rows = teach_shard(sample, lesson)
    encode_shard(rows, info)
    seconds = time.perf_counter() - started
    # Where all lengths are known the number of tokens is the better scale: a sample's lengths are luck.
    scale = manifest.tokens / len(sample.input_ids) if manifest else sequences / len(sample)
    positions = int(rows.position_offsets[-1]) * scale
    return Estimate(
        source=source,
        sequences=round(sequences) * recipe.masking.copies,
        positions=round(positions),
        bytes=round(positions * _bytes_a_position(rows, info, recipe.sequences.shard_size)),
        seconds=seconds * scale,
    )


def _bytes_a_position(rows: TargetRows, info: ShardInfo, shard_size: int) -> float:
    """Bytes of a position in a whole shard: by what doubling the rows saves, up to a row group."""
    whole = len(rows)
    sizes = []
    nothing = len(encode_shard(rows.take(np.empty(0, np.int64)), info))
    for part in (rows.take(np.arange(whole // share)) for share in (4, 2, 1)):
        sizes.append((len(encode_shard(part, info)) - nothing) / max(1, int(part.position_offsets[-1])))
    first, second = sizes[0] - sizes[1], sizes[1] - sizes[2]
    found = sizes[2]
    if 0 < second < first:
        saved = second
        for _ in range(round(math.log2(max(1, min(ROW_GROUP_ROWS, shard_size) / whole)))):
            saved *= second / first
            found -= saved
    return found


def _from_shards(workdir: Workdir, source: Source, manifest: SequenceManifest) -> Sequences:
    """Some sequences of a few shards all over the source."""
    parts = []
    chosen = _spread(manifest.shards, _SAMPLE_SHARDS)
    for number in chosen:
        shard = read_sequences(workdir, f"{workdir.sequences(source)}/{shard_name(int(number), manifest.shards)}")
        parts.append(shard.take(_spread(len(shard), -(-_SAMPLE_SEQUENCES // len(chosen)))))
    return Sequences.concatenate(parts)


def _spread(count: int, wanted: int) -> Array:
    """At most `wanted` of the numbers below count, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f} h" if seconds >= 360 else f"{seconds:.0f} s"
