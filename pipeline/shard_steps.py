"""The steps of the shard job, each a thin Beam DoFn around files: what a step did is in a count file of its own.

Local runners:        extents ─ SpillExtent ─► chunks [─ MergeParagraphs ─► chunks] ─ WriteStretch ─► shards
Distributed runners:  extents ─ ReadExtent ─► (key, piece) ─ GroupByKey [─ ...] ─ WriteGroup ─► shards

Local steps are each Create → Reshuffle → ParDo, so a killed job goes on where it was.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.clean import clean, document_id, is_heldout, paragraphs, place_of, script_share, shard_of
from pipeline.corpus import Extent
from pipeline.pack import Packer, make_packer, sequence_id
from pipeline.records import read_records
from pipeline.runner import NAMESPACE
from pipeline.sequences import write_sequences
from pipeline.spill import ChunkWriter, Piece, read_stretch
from recipe import MergeDistillError, Recipe, Source, Workdir, shard_name
from recipe.schema import Sequences
from vocab.load import load_tokenizer

HELDOUT = -1
_HELDOUT_STRETCHES = 64
_PLACES = 1 << 32


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


def read_pieces(job: ShardJob, number: int, extent: Extent, counts: dict[str, Any]) -> Iterator[Piece]:
    """The usable text of an extent; the rest is counted, and what cannot be used at all is quarantined."""
    settings = job.settings
    counts |= {"read": 0, "filtered": 0, "quarantined": 0}
    rejected = []
    try:
        for record in read_records(extent, settings):
            counts["read"] += 1
            if record.text is None:
                counts["quarantined"] += 1
                rejected.append({"file": extent.file.url, **record._asdict()})
                continue
            text = clean(record.text)
            if len(text) < settings.min_chars or (
                settings.scripts and script_share(text, settings.scripts) < settings.script_share
            ):
                counts["filtered"] += 1
                continue
            document = document_id(text)
            if settings.deduplicate == "document":
                yield Piece(document, document, 0, text)
            else:
                for position, paragraph in enumerate(paragraphs(record.text)):
                    yield Piece(document_id(paragraph), document, position, paragraph)
    except MergeDistillError as error:
        counts["error"] = str(error)
    if rejected:
        job.workdir.write_jsonl(job.quarantine(number), rejected)
    for name in ("read", "filtered", "quarantined"):
        Metrics.counter(NAMESPACE, f"documents_{name}").inc(counts[name])


class SpillExtent(beam.DoFn):
    """(number, extent) → chunks of its text in the spill folder: `text` and `heldout`, or `paragraphs` of both."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job

    def process(self, element: tuple[int, Extent]) -> Iterator[int]:
        number, extent = element
        job, counts = self._job, dict[str, Any]()
        whole = job.settings.deduplicate == "document"
        writer = (
            _SplitWriter(job, f"{number:05d}") if whole else ChunkWriter(Path(job.spill), f"paragraphs-{number:05d}")
        )
        pieces = chars = 0
        for piece in read_pieces(job, number, extent, counts):
            writer.add(piece)
            pieces, chars = pieces + 1, chars + len(piece.text)
        writer.close()
        job.workdir.write_json(job.count_path("extent", number), {**counts, "pieces": pieces, "chars": chars})
        yield number


class MergeParagraphs(beam.DoFn):
    """Stretch number → the paragraphs in it, each where its first document has it, as `text` and `heldout` chunks."""

    def __init__(self, job: ShardJob, stretches: int) -> None:
        self._job, self._stretches = job, stretches

    def process(self, number: int) -> Iterator[int]:
        job = self._job
        first: dict[str, Piece] = {}
        for piece in read_stretch(job.chunks("paragraphs"), *_stretch(number, self._stretches)):
            first[piece.text] = earlier(first.get(piece.text), piece)
        writer = _SplitWriter(job, f"merged-{number:05d}")
        for _, piece in sorted(first.items()):
            writer.add(piece._replace(key=piece.document))
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
            write_heldout(job, (read_stretch(job.chunks("heldout"), *_stretch(at, _HELDOUT_STRETCHES))
                                for at in range(_HELDOUT_STRETCHES)))  # fmt: skip
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
        pieces = 0
        for piece in read_pieces(self._job, number, extent, counts):
            pieces += 1
            yield (by_shard(self._job, piece, self._shards) if whole else piece.key), piece
        self._job.workdir.write_json(self._job.count_path("extent", number), {**counts, "pieces": pieces})


def first_of_group(job: ShardJob, shards: int, group: tuple[int, Iterable[Piece]]) -> tuple[int, Piece]:
    """(paragraph id, its pieces) → (shard, the piece that keeps it)."""
    kept = functools.reduce(earlier, group[1])
    return by_shard(job, kept, shards), kept


class WriteGroup(beam.DoFn):
    """(shard number, its pieces) → that shard, the same bytes in whatever order the pieces arrive."""

    def __init__(self, job: ShardJob, shards: int) -> None:
        self._job, self._shards = job, shards

    def process(self, element: tuple[int, Iterable[Piece]]) -> Iterator[int]:
        number, pieces = element
        if number == HELDOUT:
            write_heldout(self._job, [pieces])
        else:
            write_shard(self._job, number, self._shards, pieces)
        yield number


def by_shard(job: ShardJob, piece: Piece, shards: int) -> int:
    """The shard that a piece's document goes into, or HELDOUT."""
    return HELDOUT if is_heldout(piece.document, job.settings.heldout) else shard_of(piece.document, shards)


def earlier(first: Piece | None, second: Piece) -> Piece:
    """Of two equal paragraphs the one to keep; held-out documents come first, so nothing in them is taught."""
    return second if first is None else min(first, second, key=lambda piece: (piece.document, piece.position))


def write_shard(job: ShardJob, number: int, shards: int, pieces: Iterable[Piece]) -> None:
    """Put the pieces of a shard together, tokenize, pack and write it, then its count file."""
    documents, made_of = _documents(pieces)
    rows = pack(sorted(documents.items()), job.recipe_json, job.source.teacher)
    name = shard_name(number, shards)
    _write(job, "shard", number, name, rows, len(documents), made_of)


def write_heldout(job: ShardJob, parts: Iterable[Iterable[Piece]]) -> None:
    """The same for the held-out shard, which takes its first documents in order of their hash until it is full."""
    limit = job.settings.heldout_max
    rows: list[tuple[int, int, list[int]]] = []
    used = made_of = 0
    for pieces in parts:
        documents, unique = _documents(pieces)
        used, made_of = used + len(documents), made_of + unique
        if len(rows) < limit:
            # A document gives at least one window or is dropped, so a few more documents than are wanted are enough.
            first = heapq.nsmallest(2 * limit, documents.items())
            rows += pack(first, job.recipe_json, job.source.teacher)[: limit - len(rows)]
    _write(job, "heldout", 0, f"heldout/{shard_name(0, 1)}", rows, used, made_of)


def _write(
    job: ShardJob, step: str, number: int, name: str, rows: list[tuple[int, int, list[int]]], used: int, made_of: int
) -> None:
    metadata = {"teacher": job.source.teacher, "language": job.source.language}
    counts = {
        "used": used,
        "pieces": made_of,
        "sequences": len(rows),
        "tokens": sum(len(row[2]) for row in rows),
        "file": name,
        "bytes": write_sequences(job.workdir, f"{job.folder}/{name}", rows, metadata),
    }
    job.workdir.write_json(job.count_path(step, number), counts)
    Metrics.counter(NAMESPACE, "sequences_cut").inc(len(rows))


def _documents(pieces: Iterable[Piece]) -> tuple[dict[int, str], int]:
    """Document → text of its pieces in order, and how many different pieces that took."""
    parts: dict[int, dict[int, str]] = {}
    for piece in pieces:
        parts.setdefault(piece.document, {})[piece.position] = piece.text
    documents = {document: " ".join(text for _, text in sorted(found.items())) for document, found in parts.items()}
    return documents, sum(map(len, parts.values()))


def pack(documents: list[tuple[int, str]], recipe_json: str, teacher: str) -> list[tuple[int, int, list[int]]]:
    """(document id, text) → (sequence id, document id, ids) of every window."""
    backend, packer, across, _ = load_packer(recipe_json, teacher)
    encodings = backend.encode_batch_fast([text for _, text in documents], add_special_tokens=False)
    encoded = ((document, each.ids) for (document, _), each in zip(documents, encodings, strict=True))
    if across:
        windows: Iterable[tuple[int, int, list[int]]] = packer.stream(encoded)
    else:
        windows = ((each, n, window) for each, ids in encoded for n, window in enumerate(packer.windows(ids)))
    return [(sequence_id(document, number), document, window) for document, number, window in windows]


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


class _SplitWriter:
    """Held-out text apart from the rest; by rank there, so that the first of it can be read first."""

    def __init__(self, job: ShardJob, stem: str) -> None:
        self._share = job.settings.heldout
        self._text, self._heldout = (ChunkWriter(Path(job.spill), f"{kind}-{stem}") for kind in ("text", "heldout"))

    def add(self, piece: Piece) -> None:
        if is_heldout(piece.document, self._share):
            rank = int(piece.document / (self._share * 2**64) * _PLACES)
            self._heldout.add(piece._replace(key=min(rank, _PLACES - 1)))
        else:
            self._text.add(piece._replace(key=place_of(piece.document)))

    def close(self) -> None:
        self._text.close()
        self._heldout.close()


def _stretch(number: int, count: int) -> tuple[int, int]:
    """The places of one of `count` equal stretches: those that `shard_of` gives this number."""
    return -(-(number << 32) // count), -(-((number + 1) << 32) // count)
