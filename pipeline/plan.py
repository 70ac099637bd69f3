"""What teaching will cost, from a timed sample of each source."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from pipeline.sequences import Sequences, read_sequence_manifest, read_sequences
from pipeline.teach import make_lesson, teach_shard
from pipeline.teacher import load_teacher
from recipe import Recipe, Source, StaleError, Workdir, shard_name
from targets.ragged import gather
from targets.rows import Array
from targets.writer import encode_shard
from vocab.store import read_vocabulary

_SAMPLE_SEQUENCES = 256


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
            f"{self.bytes / 1e6:,.1f} MB of targets, {self.seconds / 3600:.2f} h on one worker like this machine"
        )


def estimate(recipe: Recipe, workdir: Workdir, source: Source) -> Estimate:
    """Teach a sample of the source's first shard, and scale by the number of tokens. Writes nothing."""
    from pipeline.teach_job import plan_splits

    manifest = read_sequence_manifest(workdir, source)
    if manifest is None:
        raise StaleError(f"{source}: run `python -m pipeline shard RECIPE --lang {source.language}` first")
    lesson = make_lesson(
        recipe,
        load_teacher(source.teacher, recipe.teachers[source.teacher], recipe.teaching),
        read_vocabulary(workdir, recipe),
        recipe.targets.k,
    )
    shard = read_sequences(workdir, f"{workdir.sequences(source)}/{shard_name(0, manifest.shards)}")
    spread = np.linspace(0, len(shard.sequence_id) - 1, min(_SAMPLE_SEQUENCES, len(shard.sequence_id)))
    sample = _take(shard, np.unique(spread.astype(np.int64)))
    teach_shard(_take(sample, np.arange(min(8, len(sample.sequence_id)))), lesson)
    started = time.perf_counter()
    rows = teach_shard(sample, lesson)
    content = encode_shard(rows, plan_splits(recipe, workdir, source)[0].info(0))
    seconds = time.perf_counter() - started
    scale = manifest.tokens / len(sample.input_ids)
    return Estimate(
        source=source,
        sequences=manifest.sequences * recipe.masking.copies,
        positions=round(int(rows.position_offsets[-1]) * scale),
        bytes=round(len(content) * scale),
        seconds=seconds * scale,
    )


def _take(sequences: Sequences, rows: Array) -> Sequences:
    tokens, offsets = gather(sequences.offsets, rows)
    return Sequences(
        sequence_id=sequences.sequence_id[rows],
        document=sequences.document[rows],
        input_ids=sequences.input_ids[tokens],
        offsets=offsets,
    )
