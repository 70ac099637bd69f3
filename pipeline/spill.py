"""Text on its way from corpus files to shards, on a local disk: sorted chunks, of which any stretch can be read.

A distributed Beam runner shuffles by itself. Its local runners would hold the whole corpus in memory, so there
every extent's documents go into Arrow files sorted by place, and a shard memory-maps its stretch of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recipe import MergeDistillError

_SCHEMA = pa.schema(
    [("place", pa.uint32()), ("document", pa.uint64()), ("position", pa.uint32()), ("text", pa.large_string())]
)
_CHUNK_CHARS = 1 << 24


class Piece(NamedTuple):
    """Text of one document: the whole, or its paragraph number `position`. `key` decides which stretch it is in."""

    key: int
    document: int
    position: int
    text: str


class ChunkWriter:
    """Writes pieces as `<folder>/<stem>-<n>.arrow`, about 16 million characters a file; `written` lists the names."""

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder, self._stem = folder, stem
        self._waiting: list[Piece] = []
        self._chars = 0
        self.written: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, piece: Piece) -> None:
        self._chars += len(piece.text) + 32
        self._waiting.append(piece)
        if self._chars >= _CHUNK_CHARS:
            self.close()

    def close(self) -> None:
        """Write what is waiting."""
        if self._waiting:
            name = f"{self._stem}-{len(self.written):04d}.arrow"
            _write(self._waiting, self._folder / name)
            self.written.append(name)
            self._waiting, self._chars = [], 0


def read_stretch(chunks: Iterable[Path], low: int, high: int) -> Iterator[Piece]:
    """The pieces of places low ≤ place < high, chunk by chunk. Raises MergeDistillError for a damaged chunk."""
    for path in chunks:
        try:
            with pa.memory_map(str(path)) as stream:
                table = pa.ipc.open_file(stream).read_all()
                places = table.column("place").chunk(0).to_numpy()
                start, stop = np.searchsorted(places, [low, high])
                part = table.slice(start, stop - start)
                columns = [part.column(name).to_pylist() for name in ("place", "document", "position", "text")]
        except (pa.ArrowException, OSError) as error:
            cause = " ".join(str(error).split())[:120]
            raise MergeDistillError(
                f"{path}: is damaged ({cause}); delete its folder and run the command again"
            ) from None
        yield from map(Piece, *columns)


def _write(pieces: list[Piece], path: Path) -> None:
    places = np.array([piece.key & 0xFFFFFFFF for piece in pieces], np.uint32)
    order = np.argsort(places, kind="stable")
    chosen = [pieces[row] for row in order.tolist()]
    table = pa.table(
        [
            places[order],
            np.array([piece.document for piece in chosen], np.uint64),
            np.array([piece.position for piece in chosen], np.uint32),
            pa.array([piece.text for piece in chosen], pa.large_string()),
        ],
        schema=_SCHEMA,
    )
    temporary = path.with_name(f".{path.name}.tmp")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_table(table)
    temporary.replace(path)
