"""Check finished targets against their manifest and against the sequences they were made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.sequences import Sequences, read_sequences
from recipe import MergeDistillError, Recipe, Source, TargetsError, Workdir
from targets import TargetRows, read_manifest
from targets.ragged import gather
from targets.rows import Array
from targets.verify import verify_shard
from vocab.store import read_vocabulary


def verify(recipe: Recipe, workdir: Workdir, source: Source) -> Iterator[tuple[str, str | None]]:
    """Each shard of a source, by its name below the source's folder, with its first problem or None where it is sound.

    A problem of no single shard comes with an empty name. Nothing is changed on disk.
    """
    remap = read_vocabulary(workdir, recipe).remap(source.teacher)
    for heldout in (False, True):
        folder = workdir.targets(source, heldout)
        manifest = read_manifest(workdir, folder)
        if manifest is None:
            if not heldout:
                yield "", f"{workdir.path(folder)}: has no manifest: nothing was taught"
            continue
        for row in manifest.shards:
            name = f"heldout/{row.name}" if heldout else row.name
            try:
                rows = verify_shard(workdir, folder, row, manifest)
                sequences = read_sequences(workdir, f"{workdir.sequences(source, heldout)}/{row.name}")
                problem = labels_problem(rows, sequences, remap)
                if problem:
                    raise TargetsError(f"{workdir.path(folder)}/{row.name}: {problem}")
                yield name, None
            except MergeDistillError as error:
                yield name, str(error)
        if not manifest.complete:
            missing = manifest.total - len(manifest.shards)
            yield "", f"{workdir.path(folder)}: {missing} of {manifest.total} shards are not taught yet"


def labels_problem(rows: TargetRows, sequences: Sequences, remap: Array) -> str | None:
    """What is wrong if a label is not the token that the sequence had before it was masked, or None."""
    order = np.argsort(sequences.sequence_id)
    found = np.searchsorted(sequences.sequence_id, rows.sequence_id, sorter=order)
    place = order[np.minimum(found, len(order) - 1)]
    if not np.array_equal(sequences.sequence_id[place], rows.sequence_id):
        return "has a sequence that its sequence shard does not have"
    tokens, offsets = gather(sequences.offsets, place)
    originals = remap[sequences.input_ids[tokens]]
    if not np.array_equal(np.diff(offsets), rows.lengths):
        return "has a sequence of another length than its sequence shard"
    starts = np.repeat(offsets[:-1], np.diff(rows.position_offsets))
    if not np.array_equal(originals[starts + rows.positions], rows.labels):
        return "has a label that is not the token that was masked"
    return None
