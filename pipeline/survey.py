"""What a corpus holds, from a sample all over it: for plans, and for runners that must know the shards beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.corpus import CorpusFile, Extent, split_extents
from pipeline.sequences import Sequences
from pipeline.shard_steps import ShardJob, join_pieces, pack, read_pieces
from pipeline.spill import Array, Pieces
from recipe import Recipe, Source, Workdir

_EXTENTS = 64
_DOCUMENTS = 2000


@dataclass(frozen=True)
class Survey:
    """Expected number of a source's sequences, held-out ones included, and some of them."""

    sequences: float
    sample: Sequences


def survey(recipe: Recipe, source: Source, files: Iterable[CorpusFile]) -> Survey:
    """Read up to 64 evenly spaced extents and tokenize some 2,000 of their documents, chosen by their hash.

    Text is read, not tokenized, in whole; so a corpus of a few large compressed files takes its time. Writes nothing.
    """
    whole = recipe.sequences.documents != "line"
    extents = [extent for file in files for extent in split_extents(file, whole)]
    chosen = extents[:: -(-len(extents) // _EXTENTS)]
    share = sum(map(_stored, chosen)) / max(1, sum(map(_stored, extents)))
    job = ShardJob(recipe.model_dump_json(), Workdir("memory://mergedistill-survey"), source, "")
    kept = Pieces.concatenate([])
    limit = 1 << 32
    for number, extent in enumerate(chosen):
        for pieces in read_pieces(job, number, extent, {}):
            kept = Pieces.concatenate([kept, pieces.take(np.flatnonzero(_places(pieces) < limit))])
            while len(np.unique(kept.document)) > 2 * _DOCUMENTS:
                # Keep the lower half of the places: still a fair sample, of half of the hash space.
                limit //= 2
                kept = kept.take(np.flatnonzero(_places(kept) < limit))
    job.workdir.remove("quarantine")
    documents, texts, _ = join_pieces(kept)
    sample = pack(documents, texts, job.recipe_json, source.teacher)
    return Survey(len(sample) * (1 << 32) / limit / share, sample)


def _places(pieces: Pieces) -> Array:
    return pieces.document & np.uint64(0xFFFFFFFF)


def _stored(extent: Extent) -> int:
    return extent.file.size if extent.stop is None or extent.file.kind == "parquet" else extent.stop - extent.start
