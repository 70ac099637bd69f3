"""Text on its way from corpus files to shards, on a local disk: sorted chunks, of which any stretch can be read.

A distributed Beam runner shuffles by itself. Its local runners would hold the whole corpus in memory, so there
every extent's documents go into Arrow files sorted by place, and a shard memory-maps its stretch of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipe import MergeDistillError

Array = npt.NDArray[Any]

_SCHEMA = pa.schema(
    [("place", pa.uint32()), ("document", pa.uint64()), ("position", pa.uint32()), ("text", pa.large_string())]
)
_CHUNK_BYTES = 1 << 24


class Pieces(NamedTuple):
    """n pieces of text, each a whole document or its paragraph number `position`; `key` decides which stretch it is in.

    key[n], document[n] uint64, position[n] uint32; text: n strings, a list or an Arrow array.
    """

    key: Array
    document: Array
    position: Array
    text: Any

    def take(self, rows: Array) -> Pieces:
        """The given rows, in that order."""
        text = pa.array(self.text, pa.large_string()).take(pa.array(rows))
        return Pieces(self.key[rows], self.document[rows], self.position[rows], text)

    @staticmethod
    def concatenate(parts: Iterable[Pieces]) -> Pieces:
        """All pieces of all parts."""
        found = list(parts)
        texts = [pa.array(part.text, pa.large_string()) for part in found]
        return Pieces(
            key=np.concatenate([np.empty(0, np.uint64), *(part.key for part in found)]),
            document=np.concatenate([np.empty(0, np.uint64), *(part.document for part in found)]),
            position=np.concatenate([np.empty(0, np.uint32), *(part.position for part in found)]),
            text=pa.chunked_array(texts, pa.large_string()).combine_chunks()
            if texts
            else pa.array([], pa.large_string()),
        )


class ChunkWriter:
    """Writes pieces as `<folder>/<kind>-<stem>-<n>.arrow`, about 16 MiB a file; `written` lists the names.

    split: given the pieces of a file, tells what kinds they are of: (kind, rows, keys of those rows) each.
    """

    def __init__(self, folder: Path, stem: str, split: Callable[[Pieces], list[tuple[str, Array, Array]]]) -> None:
        self._folder, self._stem, self._split = folder, stem, split
        self._flushed = 0
        self._waiting: list[Pieces] = []
        self._bytes = 0
        self.written: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, pieces: Pieces) -> None:
        if not len(pieces.key):
            return
        pieces = pieces._replace(text=pa.array(pieces.text, pa.large_string()))
        self._bytes += pieces.text.nbytes
        self._waiting.append(pieces)
        if self._bytes >= _CHUNK_BYTES:
            self.close()

    def close(self) -> None:
        """Write what is waiting."""
        if not self._waiting:
            return
        pieces = Pieces.concatenate(self._waiting)
        for kind, rows, keys in self._split(pieces):
            if len(rows):
                name = f"{kind}-{self._stem}-{self._flushed:04d}.arrow"
                places = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
                order = np.argsort(places, kind="stable")
                _write(pieces.take(rows[order]), places[order], self._folder / name)
                self.written.append(name)
        self._waiting, self._bytes, self._flushed = [], 0, self._flushed + 1


def read_stretch(chunks: Iterable[Path], low: int, high: int) -> Pieces:
    """The pieces of places low ≤ place < high of all chunks. Raises MergeDistillError for a damaged chunk.

    The text is not copied as long as the result lives.
    """
    parts = []
    for path in chunks:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            places = table.column("place").chunk(0).to_numpy()
        except (pa.ArrowException, OSError) as error:
            cause = " ".join(str(error).split())[:120]
            raise MergeDistillError(
                f"{path}: is damaged ({cause}); delete its folder and run the command again"
            ) from None
        start, stop = np.searchsorted(places, [low, high])
        part = table.slice(start, stop - start)
        key, document, position = (
            part.column(name).to_numpy().astype(kind)
            for name, kind in (("place", np.uint64), ("document", np.uint64), ("position", np.uint32))
        )
        parts.append(Pieces(key, document, position, part.column("text").combine_chunks()))
    return Pieces.concatenate(parts)


def _write(pieces: Pieces, places: Array, path: Path) -> None:
    table = pa.table([places, pieces.document, pieces.position, pieces.text], schema=_SCHEMA)
    temporary = path.with_name(f".{path.name}.tmp")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_table(table)
    temporary.replace(path)
