"""The working directory: its layout, and reads and writes that are whole or absent, on any fsspec URL."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

from recipe.errors import MergeDistillError
from recipe.schema import Source

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


def fingerprint(content: Any) -> str:
    """sha256 (hex) of anything that JSON can hold, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def shard_name(number: int, count: int) -> str:
    """`part-00003-of-00064.parquet`: the name of one shard among `count`."""
    return f"part-{number:05d}-of-{count:05d}.parquet"


@dataclass(frozen=True)
class Workdir:
    """Paths of one merge below a root URL (local, s3://, gs://, memory://)."""

    url: str

    @cached_property
    def _filesystem_and_root(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            filesystem, root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise MergeDistillError(f"workdir {self.url}: {error}") from None
        return filesystem, root.rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return self._filesystem_and_root[0]

    @property
    def is_local(self) -> bool:
        return "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    def path(self, *parts: str) -> str:
        """A path below the root, as its filesystem writes it."""
        return "/".join((self._filesystem_and_root[1], *parts))

    def sequences(self, source: Source, heldout: bool = False) -> str:
        return "/".join(("sequences", source.teacher, source.language, *(["heldout"] if heldout else [])))

    def targets(self, source: Source, heldout: bool = False) -> str:
        return "/".join(("targets", source.teacher, source.language, *(["heldout"] if heldout else [])))

    def exists(self, relative: str) -> bool:
        return bool(self.fs.exists(self.path(relative)))

    def sizes(self, relative: str) -> dict[str, int]:
        """Name → bytes of the files directly inside a folder; empty where there is no folder."""
        try:
            listing = self.fs.ls(self.path(relative), detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {
            entry["name"].rsplit("/", 1)[-1]: int(entry["size"] or 0) for entry in listing if entry["type"] == "file"
        }

    def read_bytes(self, relative: str) -> bytes:
        return bytes(self.fs.cat_file(self.path(relative)))

    def read_json(self, relative: str) -> Any:
        """The JSON document at `relative`, or None where there is none."""
        try:
            content = self.read_bytes(relative)
        except FileNotFoundError:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise MergeDistillError(
                f"{self.path(relative)}: is not JSON; delete it and run the command again"
            ) from None

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write a file so that a reader sees all of it or none: rename where that is atomic, else one PUT."""
        if self.is_local:
            self.write_with(relative, lambda stream: stream.write(content))
        else:
            self.fs.makedirs(self.path(relative).rsplit("/", 1)[0], exist_ok=True)
            self.fs.pipe_file(self.path(relative), content)

    def write_json(self, relative: str, content: Any) -> None:
        self.write_bytes(relative, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    def write_jsonl(self, relative: str, records: Iterable[Any]) -> None:
        self.write_bytes(relative, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode())

    def write_with(self, relative: str, write: Callable[[IO[bytes]], Any]) -> None:
        """Like `write_bytes` for what writes itself to a binary stream. A failure leaves no file behind."""
        path = self.path(relative)
        folder, name = path.rsplit("/", 1)
        self.fs.makedirs(folder, exist_ok=True)
        if not self.is_local:
            with self.fs.open(path, "wb") as stream:
                write(stream)
            return
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep a second process of this machine out of a piece of work; raises MergeDistillError if one is in.

        Released by the system however this process ends. On an object store there is no lock: what two jobs write there
        are the same bytes, each in a single PUT.
        """
        if not self.is_local or fcntl is None:
            yield
            return
        path = self.path(".locks", name.replace("/", "-"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a+b") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MergeDistillError(
                    f"{self.path(name)}: another job is at work on it; wait for it to end, or stop it first"
                ) from None
            yield

    def modified(self, relative: str) -> dict[str, float]:
        """Name → seconds since the epoch of the files directly inside a folder, as far as its store says."""
        try:
            listing = self.fs.ls(self.path(relative), detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        found = {}
        for entry in listing:
            when = next((entry[key] for key in ("mtime", "LastModified", "updated", "created") if entry.get(key)), None)
            if isinstance(when, str):
                when = datetime.fromisoformat(when)
            if when is not None:
                seconds = when.timestamp() if isinstance(when, datetime) else float(when)
                found[entry["name"].rsplit("/", 1)[-1]] = seconds
        return found

    def remove_temporary(self, relative: str) -> None:
        """Delete what killed writers left half-written below a folder. Only where nobody writes: hold its lock."""
        if self.is_local:
            for path in Path(self.path(relative)).rglob(".*.tmp"):
                path.unlink(missing_ok=True)

    def remove(self, relative: str) -> None:
        """Delete a file or a folder; nothing happens where there is none."""
        if self.exists(relative):
            self.fs.rm(self.path(relative), recursive=True)
