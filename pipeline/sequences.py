"""Sequence shards: packed windows of teacher ids, one Parquet file a shard, with a manifest a source."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recipe import Source, TargetsError, Workdir
from targets.ragged import gather, lengths_to_offsets

VERSION = "1.1"
_VERSION_KEY = b"mergedistill.sequences.version"

SCHEMA = pa.schema(
    [
        pa.field("sequence_id", pa.uint64(), nullable=False),
        pa.field("document", pa.uint64(), nullable=False),
        pa.field("input_ids", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
    ]
)


@dataclass(frozen=True)
class Sequences:
    """n sequences: sequence_id[n], document[n] uint64; input_ids[T] int32 (teacher ids) with offsets[n + 1]."""

    sequence_id: npt.NDArray[np.uint64]
    document: npt.NDArray[np.uint64]
    input_ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequence_id)

    def take(self, rows: npt.NDArray[np.int64]) -> Sequences:
        """The given rows, in that order."""
        tokens, offsets = gather(self.offsets, rows)
        return Sequences(self.sequence_id[rows], self.document[rows], self.input_ids[tokens], offsets)

    @staticmethod
    def concatenate(parts: Iterable[Sequences]) -> Sequences:
        """All rows of all parts."""
        found = [*parts, _NONE]
        return Sequences(
            sequence_id=np.concatenate([part.sequence_id for part in found]),
            document=np.concatenate([part.document for part in found]),
            input_ids=np.concatenate([part.input_ids for part in found]),
            offsets=lengths_to_offsets(np.concatenate([np.diff(part.offsets) for part in found])),
        )


_NONE = Sequences(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int32), np.zeros(1, np.int64))


@dataclass(frozen=True)
class SequenceManifest:
    """What one source's sequences are and came from. `read` = used + duplicates + filtered + quarantined documents.

    files: name below the source's folder → bytes.
    """

    fingerprint: str
    fingerprints: dict[str, str]
    corpora: list[dict[str, Any]]
    shards: int
    heldout_shards: int
    read: int
    used: int
    duplicates: int
    duplicate_paragraphs: int
    filtered: int
    quarantined: int
    heldout_documents: int
    sequences: int
    tokens: int
    heldout_sequences: int
    padding_share: float
    files: dict[str, int]

    def write(self, workdir: Workdir, source: Source) -> None:
        workdir.write_json(f"{workdir.sequences(source)}/manifest.json", {"version": VERSION, **asdict(self)})


def read_sequence_manifest(workdir: Workdir, source: Source) -> SequenceManifest | None:
    """The manifest of a source's finished sequences, or None where they are not finished."""
    path = f"{workdir.sequences(source)}/manifest.json"
    document = workdir.read_json(path)
    if document is None:
        return None
    try:
        return SequenceManifest(**{name: document[name] for name in SequenceManifest.__dataclass_fields__})
    except KeyError as error:
        raise TargetsError(
            f"{workdir.path(path)}: has no {error}; "
            f"run `python -m pipeline shard RECIPE --lang {source.language} --force`"
        ) from None


def write_sequences(workdir: Workdir, path: str, sequences: Sequences, metadata: dict[str, str]) -> int:
    """Write sequences as one shard, whole or not at all; returns its bytes."""
    offsets = pa.array(sequences.offsets.astype(np.int32))
    table = pa.table(
        [
            pa.array(sequences.sequence_id, pa.uint64()),
            pa.array(sequences.document, pa.uint64()),
            pa.ListArray.from_arrays(offsets, pa.array(sequences.input_ids, pa.int32())).cast(
                SCHEMA.field("input_ids").type
            ),
        ],
        schema=SCHEMA.with_metadata({_VERSION_KEY.decode(): VERSION, **metadata}),
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    content = buffer.getvalue()
    workdir.write_bytes(path, content)
    return len(content)


def read_sequences(workdir: Workdir, path: str) -> Sequences:
    """Read one shard. Raises TargetsError, with the remedy, for a missing, truncated or foreign file."""
    where = workdir.path(path)
    remedy = "run `python -m pipeline shard RECIPE` again: it makes what is missing"
    try:
        with workdir.fs.open(where, "rb") as stream:
            table = pq.read_table(stream, page_checksum_verification=True)
    except FileNotFoundError:
        raise TargetsError(f"{where}: is missing; {remedy}") from None
    except (pa.ArrowException, OSError) as error:
        cause = " ".join(str(error).split())[:120]
        raise TargetsError(f"{where}: is truncated or damaged ({cause}); delete it and {remedy}") from None
    if _VERSION_KEY not in (table.schema.metadata or {}) or not table.schema.equals(SCHEMA):
        raise TargetsError(f"{where}: is no sequence shard of version {VERSION}; delete it and {remedy}")
    ids = table.column("input_ids").combine_chunks()
    offsets = np.asarray(ids.offsets).astype(np.int64)
    return Sequences(
        sequence_id=table.column("sequence_id").to_numpy(),
        document=table.column("document").to_numpy(),
        input_ids=ids.flatten().to_numpy(zero_copy_only=False),
        offsets=offsets - offsets[0],
    )
