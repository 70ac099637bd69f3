"""A progress bar for a job on any runner: the shards that have appeared on disk, counted from outside."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

from tqdm import tqdm

from recipe import Workdir
from targets.manifest import row_path

_SECONDS_BETWEEN_LOOKS = 2.0


class ShardProgress:
    """While open, shows how many of the given (folder, shard name) pairs are done. Silent without a terminal."""

    def __init__(self, workdir: Workdir, shards: list[tuple[str, str]], title: str) -> None:
        self._workdir, self._title = workdir, title
        self._waiting = {row_path(folder, name) for folder, name in shards}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ShardProgress:
        # Rows left by an interrupted run of other settings must not count as progress of this one.
        for path in self._present():
            self._workdir.remove(path)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        total = len(self._waiting)
        bar: tqdm[Any]
        with tqdm(total=total, desc=self._title, unit="shard", disable=not sys.stderr.isatty()) as bar:
            while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
                self._look(bar)
            self._look(bar)

    def _look(self, bar: tqdm[Any]) -> None:
        if bar.disable:
            return
        done = self._present()
        self._waiting -= done
        bar.update(len(done))

    def _present(self) -> set[str]:
        folders = {path.rsplit("/", 1)[0] for path in self._waiting}
        return self._waiting & {f"{folder}/{name}" for folder in folders for name in self._workdir.sizes(folder)}
