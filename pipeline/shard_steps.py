"""The steps of the shard job, each a thin Beam DoFn around files: what a step did is in a count file of its own.

Local runners:        extents ─ SpillExtent ─► chunks [─ MergeParagraphs ─► chunks] ─ WriteStretch ─► shards
Distributed runners:  extents ─ ReadExtent ─► (key, piece) ─ GroupByKey [─ ...] ─ WriteGroup ─► shards

Local steps are each Create → Reshuffle → ParDo, so a killed job goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline.clean import clean_all, document_id, is_heldout, paragraphs, script_share, shard_of
from pipeline.corpus import Extent
from pipeline.pack import Packer, make_packer
from pipeline.records import read_texts
from pipeline.runner import NAMESPACE
from pipeline.sequences import Sequences as CutSequences
from pipeline.sequences import write_sequences
from pipeline.spill import Array, ChunkWriter, Pieces, read_stretch
from recipe import MergeDistillError, Recipe, Source, Workdir, shard_name
from recipe.collector import collector_off
from recipe.schema import Sequences
from vocab.load import load_tokenizer

HELDOUT = -1
_HELDOUT_STRETCHES = 64
_PLACES = 1 << 32

Piece = tuple[int, int, str]  # document, position, text: what a distributed runner shuffles


@dataclass(frozen=True)
class ShardJob:
    """What every step needs to know: where things lie, the settings, and a local folder for text on its way."""

    recipe_json: str
    workdir: Workdir
    source: Source
    spill: str

    @functools.cached_property
    def settings(self) -> Sequences:
        return Recipe.model_validate_json(self.recipe_json).sequences

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def folder(self) -> str:
        return self.workdir.sequences(self.source)

    def count_path(self, step: str, number: int) -> str:
        return f"{self.folder}/counts/{step}-{number:05d}.json"

    def quarantine(self, number: int) -> str:
        return f"quarantine/shard/{self.source.language}/{self.source.teacher}/extent-{number:05d}.jsonl"

    def chunks(self, kind: str) -> list[Path]:
        return sorted(Path(self.spill).glob(f"{kind}-*.arrow"))


def read_pieces(job: ShardJob, number: int, extent: Extent, counts: dict[str, Any]) -> Iterator[Pieces]:
    """The usable text of an extent; the rest is counted, and what cannot be used at all is quarantined."""
    settings = job.settings
    counts |= {"read": 0, "filtered": 0, "quarantined": 0, "pieces": 0, "chars": 0}
    rejected = []
    try:
        for read, texts, unusable in read_texts(extent, settings):
            counts["read"] += read
            counts["quarantined"] += len(unusable)
            rejected += [{"file": extent.file.url, **record._asdict()} for record in unusable]
            with collector_off():
                pieces, filtered = cut_pieces(texts, settings)
            counts["filtered"] += filtered
            counts["pieces"] += len(pieces.key)
            counts["chars"] += sum(map(len, pieces.text))
            yield pieces
    except MergeDistillError as error:
        counts["error"] = str(error)
    if rejected:
        job.workdir.write_jsonl(job.quarantine(number), rejected)
    for name in ("read", "filtered", "quarantined"):
        Metrics.counter(NAMESPACE, f"documents_{name}").inc(counts[name])


def cut_pieces(texts: list[str], settings: Sequences) -> tuple[Pieces, int]:
    """Texts of records → their pieces, and how many records were filtered out."""
    cleaned = clean_all(texts)
    kept = [len(text) >= settings.min_chars for text in cleaned]
    if settings.scripts:
        share = settings.script_share
        kept = [k and script_share(t, settings.scripts) >= share for k, t in zip(kept, cleaned, strict=True)]
    documents = [document_id(text) for text in compress(cleaned, kept)]
    filtered = len(texts) - len(documents)
    if settings.deduplicate == "document":
        ids = np.array(documents, np.uint64)
        return Pieces(ids, ids, np.zeros(len(ids), np.uint32), list(compress(cleaned, kept))), filtered
    found = [
        (document_id(paragraph), document, position, paragraph)
        for document, text in zip(documents, compress(texts, kept), strict=True)
        for position, paragraph in enumerate(paragraphs(text))
    ]
    keys, owners, positions, parts = zip(*found, strict=True) if found else ((), (), (), ())
    numbers = np.array(keys, np.uint64), np.array(owners, np.uint64), np.array(positions, np.uint32)
    return Pieces(*numbers, list(parts)), filtered


class SpillExtent(beam.DoFn):
    """(number, extent) → chunks of its text in the spill folder: `text` and `heldout`, or `paragraphs` of both."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job

    def process(self, element: tuple[int, Extent]) -> Iterator[int]:
        number, extent = element
        job, counts = self._job, dict[str, Any]()
        split = partial(_split, job.settings) if job.settings.deduplicate == "document" else _by_key
        writer = ChunkWriter(Path(job.spill), f"{number:05d}", split)
        for pieces in read_pieces(job, number, extent, counts):
            writer.add(pieces)
        writer.close()
        job.workdir.write_json(job.count_path("extent", number), counts)
        yield number


class MergeParagraphs(beam.DoFn):
    """Stretch number → the paragraphs in it, each where its first document has it, as `text` and `heldout` chunks."""

    def __init__(self, job: ShardJob, stretches: int) -> None:
        self._job, self._stretches = job, stretches

    def process(self, number: int) -> Iterator[int]:
        job = self._job
        pieces = read_stretch(job.chunks("paragraphs"), *_stretch(number, self._stretches))
        # Held-out documents come first, so nothing in them is taught.
        pieces = pieces.take(np.lexsort((pieces.position, pieces.document)))
        first: dict[str, int] = {}
        for row, text in enumerate(pieces.text.to_pylist()):
            first.setdefault(text, row)
        writer = ChunkWriter(Path(job.spill), f"merged-{number:05d}", partial(_split, job.settings))
        writer.add(pieces.take(np.array(list(first.values()), np.int64)))
        writer.close()
        job.workdir.write_json(job.count_path("paragraphs", number), {"pieces": len(first)})
        yield number


class WriteStretch(beam.DoFn):
    """Shard number → that shard, from its stretch of the chunks; HELDOUT → the held-out shard."""

    def __init__(self, job: ShardJob, shards: int) -> None:
        self._job, self._shards = job, shards

    def process(self, number: int) -> Iterator[int]:
        job = self._job
        if number == HELDOUT:
            chunks = job.chunks("heldout")
            bounds = (_stretch(at, _HELDOUT_STRETCHES) for at in range(_HELDOUT_STRETCHES))
            write_heldout(job, (read_stretch(chunks, *each) for each in bounds))
        else:
            write_shard(job, number, self._shards, read_stretch(job.chunks("text"), *_stretch(number, self._shards)))
        yield number


class ReadExtent(beam.DoFn):
    """(number, extent) → (key, piece): by paragraph where those are to be compared, else by shard."""

    def __init__(self, job: ShardJob, shards: int) -> None:
        self._job, self._shards = job, shards

    def process(self, element: tuple[int, Extent]) -> Iterator[tuple[int, Piece]]:
        number, extent = element
        counts: dict[str, Any] = {}
        whole = self._job.settings.deduplicate == "document"
        for pieces in read_pieces(self._job, number, extent, counts):
            columns = (pieces.key.tolist(), pieces.document.tolist(), pieces.position.tolist(), pieces.text)
            for key, *piece in zip(*columns, strict=True):
                yield (by_shard(self._job, piece[0], self._shards) if whole else key), tuple(piece)
        self._job.workdir.write_json(self._job.count_path("extent", number), counts)


def first_of_group(job: ShardJob, shards: int, group: tuple[int, Iterable[Piece]]) -> tuple[int, Piece]:
    """(paragraph id, its pieces) → (shard, the piece that keeps it): the first, so nothing held out is taught."""
    kept = min(group[1])
    return by_shard(job, kept[0], shards), kept


class WriteGroup(beam.DoFn):
    """(shard number, its pieces) → that shard, the same bytes in whatever order the pieces arrive."""

    def __init__(self, job: ShardJob, shards: int) -> None:
        self._job, self._shards = job, shards

    def process(self, element: tuple[int, Iterable[Piece]]) -> Iterator[int]:
        number, group = element
        documents, positions, texts = zip(*group, strict=True)
        ids = np.array(documents, np.uint64)
        pieces = Pieces(ids, ids, np.array(positions, np.uint32), list(texts))
        if number == HELDOUT:
            write_heldout(self._job, [pieces])
        else:
            write_shard(self._job, number, self._shards, pieces)
        yield number


def by_shard(job: ShardJob, document: int, shards: int) -> int:
    """The shard that a document goes into, or HELDOUT."""
    return HELDOUT if is_heldout(document, job.settings.heldout) else shard_of(document, shards)


def write_shard(job: ShardJob, number: int, shards: int, pieces: Pieces) -> None:
    """Put the pieces of a shard together, tokenize, pack and write it, then its count file."""
    documents, texts, made_of = join_pieces(pieces)
    sequences = pack(documents, texts, job.recipe_json, job.source.teacher)
    _write(job, "shard", number, shard_name(number, shards), sequences, len(documents), made_of)


def write_heldout(job: ShardJob, parts: Iterable[Pieces]) -> None:
    """The same for the held-out shard, which takes its first documents in order of their hash until it is full."""
    limit = job.settings.heldout_max
    found: list[CutSequences] = []
    used = made_of = taken = 0
    for pieces in parts:
        documents, texts, unique = join_pieces(pieces)
        used, made_of = used + len(documents), made_of + unique
        if taken < limit:
            # A document gives a sequence or is too short for one, so a few more than are wanted are enough.
            first = slice(0, 2 * limit)
            cut = pack(documents[first], texts[first], job.recipe_json, job.source.teacher)
            found.append(cut.take(np.arange(min(len(cut), limit - taken))))
            taken += len(found[-1])
    _write(job, "heldout", 0, f"heldout/{shard_name(0, 1)}", CutSequences.concatenate(found), used, made_of)


def _write(job: ShardJob, step: str, number: int, name: str, sequences: CutSequences, used: int, made_of: int) -> None:
    metadata = {"teacher": job.source.teacher, "language": job.source.language}
    counts = {
        "used": used,
        "pieces": made_of,
        "sequences": len(sequences),
        "tokens": len(sequences.input_ids),
        "file": name,
        "bytes": write_sequences(job.workdir, f"{job.folder}/{name}", sequences, metadata),
    }
    job.workdir.write_json(job.count_path(step, number), counts)
    Metrics.counter(NAMESPACE, "sequences_cut").inc(len(sequences))


def join_pieces(pieces: Pieces) -> tuple[Array, list[str], int]:
    """Documents in ascending order, their texts, and how many different pieces those are made of."""
    order = np.lexsort((pieces.position, pieces.document))
    document, position = pieces.document[order], pieces.position[order]
    new = np.ones(len(order), bool)
    new[1:] = (document[1:] != document[:-1]) | (position[1:] != position[:-1])
    chosen = pieces.take(order[new])
    texts = chosen.text.to_pylist()
    documents, first = np.unique(chosen.document, return_index=True)
    if len(documents) < len(texts):
        texts = [" ".join(texts[a:b]) for a, b in pairwise([*first.tolist(), len(texts)])]
    return documents, texts, int(new.sum())


def pack(documents: Array, texts: list[str], recipe_json: str, teacher: str) -> CutSequences:
    """documents[n] and their texts → the windows of all, tokenized by the teacher."""
    backend, packer, across, _ = load_packer(recipe_json, teacher)
    with collector_off():
        encoded = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
        return packer.pack_across(documents, encoded) if across else packer.pack(documents, encoded)


@functools.lru_cache(maxsize=2)
def load_packer(recipe_json: str, teacher: str) -> tuple[Any, Packer, bool, str]:
    """A teacher's backend tokenizer without truncation or padding, its packer, `packing: across`, its fingerprint."""
    from vocab.build import tokenizer_fingerprint

    recipe = Recipe.model_validate_json(recipe_json)
    tokenizer = load_tokenizer(teacher, recipe.teachers[teacher])
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    packer = make_packer(teacher, tokenizer, recipe.sequences.max_length)
    return backend, packer, recipe.sequences.packing == "across", tokenizer_fingerprint(tokenizer)


def _split(settings: Sequences, pieces: Pieces) -> list[tuple[str, Array, Array]]:
    """Held-out text apart from the rest; by rank there, so that the first of it can be read first."""
    limit = int(settings.heldout * 2**64)
    heldout = pieces.document < np.uint64(limit)
    rank = pieces.document[heldout].astype(np.float64) / max(limit, 1) * _PLACES
    return [
        ("text", np.flatnonzero(~heldout), pieces.document[~heldout]),
        ("heldout", np.flatnonzero(heldout), np.minimum(rank, _PLACES - 1).astype(np.uint64)),
    ]


def _by_key(pieces: Pieces) -> list[tuple[str, Array, Array]]:
    return [("paragraphs", np.arange(len(pieces.key)), pieces.key)]


def _stretch(number: int, count: int) -> tuple[int, int]:
    """The places of one of `count` equal stretches: those that `shard_of` gives this number."""
    return -(-(number << 32) // count), -(-((number + 1) << 32) // count)
