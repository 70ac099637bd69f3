"""Read the documents of an extent, in bounded memory; what cannot be used is named, not lost."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
import zstandard

from pipeline.corpus import CorpusFile, Extent, parquet_file
from recipe import CorpusError
from recipe.schema import Sequences

_CHUNK = 1 << 18
_EXCERPT = 200
_BATCH = 1000


class Record(NamedTuple):
    """One record of a corpus: its text, or the reason why it cannot be used. `at` is a byte offset or a row number."""

    at: int
    text: str | None
    reason: str = ""
    excerpt: str = ""


def read_records(extent: Extent, settings: Sequences) -> Iterator[Record]:
    """Every record of an extent, in order. Raises CorpusError if the file itself is damaged."""
    if extent.file.kind == "parquet":
        yield from _parquet_records(extent, settings)
    else:
        lines = _lines(extent, 4 * settings.max_chars)
        if extent.file.kind == "text" and settings.documents != "line":
            yield from _of_several_lines(lines, settings)
        else:
            parse = _from_json if extent.file.kind == "json" else _from_text
            for at, line in lines:
                if line is None:
                    yield Record(at, None, f"line is longer than sequences.max_chars ({settings.max_chars:,})")
                elif line.strip():
                    yield parse(at, line, settings)


def read_texts(extent: Extent, settings: Sequences) -> Iterator[tuple[int, list[str], list[Record]]]:
    """The same by the batch: records read, their texts as they are, and the records that cannot be used.

    Files of lines are decoded a block at a time, which is what makes reading cheap beside tokenizing.
    """
    if extent.file.kind == "text" and settings.documents == "line":
        for at, block in _blocks(extent, 4 * settings.max_chars):
            lines = None
            if block is not None:
                with suppress(UnicodeDecodeError):
                    lines = block.decode().split("\n")
            if lines is not None and max(map(len, lines)) <= settings.max_chars:
                texts = [line for line in lines if line and not line.isspace()]
                yield len(texts), texts, []
            else:
                yield _sorted_out(_slowly(at, block, settings))
    else:
        records = read_records(extent, settings)
        while batch := list(islice(records, _BATCH)):
            yield _sorted_out(batch)


def _sorted_out(records: Iterable[Record]) -> tuple[int, list[str], list[Record]]:
    texts, rejected = [], []
    for record in records:
        if record.text is None:
            rejected.append(record)
        else:
            texts.append(record.text)
    return len(texts) + len(rejected), texts, rejected


def _slowly(at: int, block: bytes | None, settings: Sequences) -> Iterator[Record]:
    """The records of a block with something in it that cannot be used."""
    if block is None:
        yield Record(at, None, f"line is longer than sequences.max_chars ({settings.max_chars:,})")
        return
    for line in block.split(b"\n"):
        if line.strip():
            yield _from_text(at, line, settings)
        at += len(line) + 1


def _blocks(extent: Extent, longest: int) -> Iterator[tuple[int, bytes | None]]:
    """(offset, bytes) of whole lines, together those that start in the extent; without the last line's end.

    None stands for one line of more than `longest` bytes.
    """
    at = max(extent.start - 1, 0)
    chunks = decompressed(extent.file, at)
    rest = b""
    searching = extent.start > 0  # the line that the extent begins in belongs to the one before
    for chunk in chunks:
        rest += chunk
        if searching:
            cut = rest.find(b"\n") + 1
            if not cut:
                at, rest = at + len(rest), b""
                continue
            at, rest, searching = at + cut, rest[cut:], False
            if extent.stop is not None and at >= extent.stop:
                return
        # The last line of the extent is the one that its last byte is in.
        end = None if extent.stop is None or at + len(rest) < extent.stop else max(extent.stop - at - 1, -1)
        if end is not None:
            if end < 0:
                return
            last = rest.find(b"\n", end)
            if last >= 0:
                yield at, rest[:last]
                return
        cut = rest.rfind(b"\n", 0, end) + 1
        if cut:
            yield at, rest[: cut - 1]
            at, rest = at + cut, rest[cut:]
        elif len(rest) > longest:
            yield at, None
            at, rest, searching = at + len(rest), b"", True
    if rest and not searching and (extent.stop is None or at < extent.stop):
        yield at, rest


def decompressed(file: CorpusFile, start: int = 0, consumed: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """The file's content in chunks, from byte `start` for a plain file. `consumed` hears of every raw byte read.

    Raises CorpusError for a damaged or truncated compressed file. Files of several frames or members are read whole.
    """
    make = {None: None, "gzip": _gzip, "bz2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor, "zstd": _zstd}
    factory: Any = make[file.compression]
    with fsspec.open(file.url, "rb") as stream:
        stream.seek(start)
        decoder = factory() if factory else None
        try:
            while raw := stream.read(_CHUNK):
                if consumed:
                    consumed(len(raw))
                if decoder is None:
                    yield raw
                    continue
                while raw:
                    if decoder.eof:
                        decoder = factory()
                    chunk = decoder.decompress(raw)
                    raw = decoder.unused_data if decoder.eof else b""
                    if chunk:
                        yield chunk
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise CorpusError(f"{file.url}: is damaged ({error}); fetch it again") from None
        if decoder is not None and not decoder.eof:
            raise CorpusError(f"{file.url}: is truncated; fetch it again")


def _gzip() -> Any:
    return zlib.decompressobj(wbits=31)


def _zstd() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


def _lines(extent: Extent, longest: int) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line) of the lines that start in the extent; None for a line of more than `longest` bytes."""
    at = max(extent.start - 1, 0)
    stream = io.BufferedReader(_Chunks(decompressed(extent.file, at)), _CHUNK)
    if extent.start:  # the line that the extent begins in belongs to the one before
        at += _skip_line(stream)
    while (extent.stop is None or at < extent.stop) and (line := stream.readline(longest + 1)):
        if line.endswith(b"\n") or len(line) <= longest:
            yield at, line
            at += len(line)
        else:
            yield at, None
            at += len(line) + _skip_line(stream)


def _skip_line(stream: io.BufferedIOBase) -> int:
    skipped = 0
    while part := stream.readline(_CHUNK):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a raw stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        taken = min(len(buffer), len(self._rest))
        buffer[:taken], self._rest = self._rest[:taken], self._rest[taken:]
        return taken


def _from_text(at: int, line: bytes, settings: Sequences) -> Record:
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        return Record(at, None, f"not UTF-8 at byte {error.start} of the line", _excerpt(line))
    return _bounded(at, text, settings)


def _from_json(at: int, line: bytes, settings: Sequences) -> Record:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Record(at, None, f"not JSON: {error}", _excerpt(line))
    text = value.get(settings.text_field) if isinstance(value, dict) else None
    if not isinstance(text, str):
        return Record(at, None, f"has no text in field {settings.text_field!r} (sequences.text_field)", _excerpt(line))
    return _bounded(at, text, settings)


def _of_several_lines(lines: Iterator[tuple[int, bytes | None]], settings: Sequences) -> Iterator[Record]:
    """Documents that end at a blank line, or with the file; one that grows too long is given up as it grows."""
    start, parts, size = 0, list[bytes](), 0
    for at, line in lines:
        if line is not None and not line.strip() and settings.documents == "blank-line":
            if size:
                yield _joined(start, parts, size, settings)
            parts, size = [], 0
            continue
        start = start if size else at
        size += 4 * settings.max_chars + 1 if line is None else len(line)
        if size <= 4 * settings.max_chars and line is not None:
            parts.append(line)
    if size and (size > 4 * settings.max_chars or b"".join(parts).strip()):
        yield _joined(start, parts, size, settings)


def _joined(start: int, parts: list[bytes], size: int, settings: Sequences) -> Record:
    if size > 4 * settings.max_chars:
        return Record(start, None, f"is longer than sequences.max_chars ({settings.max_chars:,})")
    return _from_text(start, b"".join(parts), settings)


def _parquet_records(extent: Extent, settings: Sequences) -> Iterator[Record]:
    with parquet_file(extent.file) as file:
        names = file.schema_arrow.names
        if settings.text_field not in names:
            raise CorpusError(
                f"{extent.file.url}: has no column {settings.text_field!r} (sequences.text_field); "
                f"it has: {', '.join(names)}"
            )
        groups = list(range(extent.start, extent.stop if extent.stop is not None else file.num_row_groups))
        at = 0
        try:
            for batch in file.iter_batches(1024, row_groups=groups, columns=[settings.text_field]):
                for text in batch.column(0).to_pylist():
                    where = extent.start * 1_000_000_000 + at
                    at += 1
                    if isinstance(text, str):
                        yield _bounded(where, text, settings)
                    else:
                        yield Record(where, None, "is null or no text")
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{extent.file.url}: is damaged ({' '.join(str(error).split())[:120]})") from None


def _bounded(at: int, text: str, settings: Sequences) -> Record:
    if len(text) > settings.max_chars:
        return Record(at, None, f"is longer than sequences.max_chars ({settings.max_chars:,})", text[:_EXCERPT])
    return Record(at, text)


def _excerpt(line: bytes) -> str:
    return line[:_EXCERPT].decode("utf-8", "replace")
