"""Find corpus files and cut them into extents: pieces that one worker reads on its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from recipe import CorpusError

Kind = Literal["text", "json", "parquet"]

_KINDS: dict[str, Kind] = {
    "txt": "text",
    "text": "text",
    "jsonl": "json",
    "ndjson": "json",
    "json": "json",
    "parquet": "parquet",
}
_COMPRESSIONS = {"gz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd", "zstd": "zstd"}
_ACCEPTED = "accepted: .txt .jsonl .json .parquet, plain or .gz .bz2 .xz .zst"
_EXTENT_BYTES = 64 << 20
_HASHED_WHOLE = 256 << 20
_HASHED_BLOCKS, _HASHED_BLOCK = 64, 1 << 20


@dataclass(frozen=True)
class CorpusFile:
    """One file of a corpus, what is in it and how it is packed."""

    url: str
    size: int
    kind: Kind
    compression: str | None


@dataclass(frozen=True)
class Extent:
    """A piece of a corpus file: bytes of a plain text file, row groups of Parquet, or a whole file (stop None)."""

    file: CorpusFile
    start: int = 0
    stop: int | None = None


def find_files(corpora: tuple[str, ...]) -> list[CorpusFile]:
    """Every file that the URLs, globs and folders name, sorted by URL, each once.

    Raises CorpusError for what does not exist, holds no corpus file, or is empty.
    """
    files: dict[str, CorpusFile] = {}
    for given in corpora:
        found = _expand(given)
        if not any(file.size for file in found):
            raise CorpusError(f"{given}: {'is empty' if len(found) == 1 else 'all its files are empty'}")
        files |= {file.url: file for file in found if file.size}
    return [files[url] for url in sorted(files)]


def split_extents(file: CorpusFile, whole: bool = False) -> list[Extent]:
    """Pieces of about 64 MiB of a plain file of lines, row groups of Parquet, anything else in one piece.

    `whole` keeps text files in one piece: a document that spans lines has no start a reader could find.
    """
    whole = whole and file.kind == "text"
    if file.kind == "parquet":
        return [Extent(file, group, group + 1) for group in range(parquet_file(file).num_row_groups)]
    if file.compression or whole:
        return [Extent(file)]
    return [Extent(file, at, min(at + _EXTENT_BYTES, file.size)) for at in range(0, file.size, _EXTENT_BYTES)]


def parquet_file(file: CorpusFile) -> pq.ParquetFile:
    """An open Parquet corpus file. Raises CorpusError if it is damaged."""
    try:
        return pq.ParquetFile(fsspec.open(file.url, "rb").open())
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(
            f"{file.url}: is truncated or no Parquet file ({' '.join(str(error).split())[:120]})"
        ) from None


def content_identity(file: CorpusFile) -> dict[str, Any]:
    """What tells whether a corpus file is still the same: size and content hash, or its store's own checksum.

    Local files are hashed whole up to 256 MiB, beyond that in 64 evenly spaced blocks of 1 MiB.
    """
    filesystem, path = url_to_fs(file.url)
    protocols = filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,)
    name = path.rsplit("/", 1)[-1]
    if not {"file", "memory"} & set(protocols):
        info = filesystem.info(path)
        marks = {key: str(info[key]) for key in ("ETag", "etag", "md5Hash", "crc32c", "blob_id") if info.get(key)}
        return {"name": name, "size": file.size, **marks}
    digest = hashlib.sha256()
    with filesystem.open(path, "rb") as stream:
        if file.size <= _HASHED_WHOLE:
            while block := stream.read(_HASHED_BLOCK):
                digest.update(block)
        else:
            for number in range(_HASHED_BLOCKS):
                stream.seek(number * (file.size - _HASHED_BLOCK) // (_HASHED_BLOCKS - 1))
                digest.update(stream.read(_HASHED_BLOCK))
    return {"name": name, "size": file.size, "sha256": digest.hexdigest()}


def _expand(given: str) -> list[CorpusFile]:
    try:
        filesystem, path = url_to_fs(given)
        if any(sign in path for sign in "*?["):
            paths = filesystem.glob(path)
            missing = f"{given}: no file matches"
        elif filesystem.isdir(path):
            paths = [found for found in filesystem.find(path) if _form(found) and not _hidden(found)]
            missing = f"{given}: the folder holds no corpus file; {_ACCEPTED}"
        else:
            paths = [path] if filesystem.exists(path) else []
            missing = f"{given}: no such file or folder"
        files = [found for found in sorted(paths) if filesystem.isfile(found)]
    except (ImportError, ValueError, OSError) as error:
        raise CorpusError(f"{given}: cannot be opened ({' '.join(str(error).split())[:200]})") from None
    if not files:
        raise CorpusError(missing)
    return [_describe(filesystem, found) for found in files]


def _describe(filesystem: Any, path: str) -> CorpusFile:
    form = _form(path)
    url = filesystem.unstrip_protocol(path)
    if form is None:
        raise CorpusError(f"{path}: unknown kind of corpus; {_ACCEPTED}")
    return CorpusFile(url, int(filesystem.size(path) or 0), *form)


def _form(path: str) -> tuple[Kind, str | None] | None:
    """Kind and compression from a file name; a name without an extension is text."""
    parts = path.rsplit("/", 1)[-1].lower().split(".")
    compression = _COMPRESSIONS.get(parts[-1]) if len(parts) > 1 else None
    if compression:
        parts = parts[:-1]
    kind = _KINDS.get(parts[-1]) if len(parts) > 1 else "text"
    return None if kind is None or (kind == "parquet" and compression) else (kind, compression)


def _hidden(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith((".", "_"))
