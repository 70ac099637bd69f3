"""What a corpus holds, from a sample all over it: for plans, and for runners that must know the shards beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.clean import place_of
from pipeline.corpus import CorpusFile, Extent, split_extents
from pipeline.shard_steps import ShardJob, pack, read_pieces
from recipe import Recipe, Source, Workdir

_EXTENTS = 64
_DOCUMENTS = 2000


@dataclass(frozen=True)
class Survey:
    """Expected sequences of a source, held-out ones included, and a sample of them: (sequence id, document, ids)."""

    sequences: float
    sample: list[tuple[int, int, list[int]]]


def survey(recipe: Recipe, source: Source, files: Sequence[CorpusFile]) -> Survey:
    """Read up to 64 evenly spaced extents and tokenize some 2,000 of their documents, chosen by their hash.

    Text is read, not tokenized, in whole; so a corpus of a few large compressed files takes its time. Writes nothing.
    """
    whole = recipe.sequences.documents != "line"
    extents = [extent for file in files for extent in split_extents(file, whole)]
    chosen = extents[:: -(-len(extents) // _EXTENTS)]
    share = sum(map(_stored, chosen)) / max(1, sum(map(_stored, extents)))
    job = ShardJob(recipe.model_dump_json(), Workdir("memory://mergedistill-survey"), source, "")
    documents: dict[int, str] = {}
    limit = 1 << 32
    for number, extent in enumerate(chosen):
        for piece in read_pieces(job, number, extent, {}):
            place = place_of(piece.document)
            if place < limit:
                text = documents.get(piece.document)
                documents[piece.document] = piece.text if text is None or not piece.position else f"{text} {piece.text}"
                if len(documents) > 2 * _DOCUMENTS:
                    # Keep the lower half of the places: still a fair sample, of half of the hash space.
                    limit //= 2
                    documents = {each: text for each, text in documents.items() if place_of(each) < limit}
    job.workdir.remove("quarantine")
    rows = pack(sorted(documents.items()), job.recipe_json, source.teacher)
    return Survey(len(rows) * (1 << 32) / limit / share, rows)


def _stored(extent: Extent) -> int:
    return extent.file.size if extent.stop is None or extent.file.kind == "parquet" else extent.stop - extent.start
