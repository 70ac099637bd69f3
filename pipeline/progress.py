"""A progress bar for a job on any runner: the files that have appeared, counted from outside."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from tqdm import tqdm

from recipe import Workdir

_SECONDS_BETWEEN_LOOKS = 2.0


class FileProgress:
    """While open, shows how many of the given files are there. Silent without a terminal."""

    def __init__(self, workdir: Workdir, paths: Iterable[str], title: str) -> None:
        self._workdir, self._title = workdir, title
        self._waiting = set(paths)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> FileProgress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        bar: tqdm[Any]
        with tqdm(total=len(self._waiting), desc=self._title, unit="shard", disable=not sys.stderr.isatty()) as bar:
            while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
                self._look(bar)
            self._look(bar)

    def _look(self, bar: tqdm[Any]) -> None:
        if bar.disable:
            return
        folders = {path.rsplit("/", 1)[0] for path in self._waiting}
        done = self._waiting & {f"{folder}/{name}" for folder in folders for name in self._workdir.sizes(folder)}
        self._waiting -= done
        bar.update(len(done))
