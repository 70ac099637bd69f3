"""Stream batches from targets on disk: order from `student.order`, rows from `targets`, one thread ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from recipe import Recipe, Source, StaleError, StudentError, Workdir
from student.order import RowGroup, generator, round_range, shares, stretches, token_budget_batches
from targets import Manifest, TargetRows, read_manifest, read_rows
from targets.rows import concatenate
from targets.schema import ROW_GROUP_ROWS
from vocab.store import MergedVocabulary, read_vocabulary

_PREFETCHED_BATCHES = 8


class Place(NamedTuple):
    """Where the stream stands: batches [0, batch) of this round are behind it. All the state there is."""

    round: int = 0
    batch: int = 0


START = Place()


class Batch(NamedTuple):
    """A batch's rows, the source number of each row, and the place after it."""

    rows: TargetRows
    sources: np.ndarray[Any, Any]
    after: Place


class TargetStream:
    """All sources of a recipe as one endless, exactly resumable stream of batches."""

    def __init__(self, recipe: Recipe, workdir: Workdir) -> None:
        self._workdir, self._seed, self._training = workdir, recipe.seed, recipe.training
        vocabulary = read_vocabulary(workdir, recipe)
        self.manifests = {source: _taught(workdir, source, vocabulary) for source in recipe.sources()}
        self.sources = tuple(self.manifests)
        self.rows = {source: sum(row.rows for row in m.shards) for source, m in self.manifests.items()}
        self.shares = shares(self.rows, recipe.training.language_alpha)
        self._groups = {source: _row_groups(manifest) for source, manifest in self.manifests.items()}
        self._read = lru_cache(maxsize=2 * len(self.sources))(self._read_groups)

    def round(self, number: int) -> list[Batch]:
        """The batches of one round, in order."""
        parts: list[TargetRows] = []
        which: list[int] = []
        for index, source in enumerate(self.sources):
            start, stop = round_range(self.shares[source], self._training.window, number)
            for groups, rows in stretches(self._groups[source], start, stop, self._seed, index):
                parts.append(self._read(source, groups).take(rows))
                which += [index] * len(rows)
        if not parts:
            return []
        rows_of_round = concatenate(parts)
        sources = np.array(which)
        random = generator(self._seed, len(self.sources), number)
        chosen = token_budget_batches(rows_of_round.lengths, self._training.batch_tokens, random)
        return [
            Batch(rows_of_round.take(batch), sources[batch], Place(number, position + 1))
            for position, batch in enumerate(chosen)
        ]

    def batches(self, place: Place = START) -> Generator[Batch]:
        """Endless batches from `place` on, made by one thread ahead of the reader."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(_PREFETCHED_BATCHES)
        stopped = threading.Event()

        def put(item: Batch | BaseException) -> None:
            while not stopped.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.2)
                    return

        def produce() -> None:
            number, skip = place
            try:
                while not stopped.is_set():
                    for batch in self.round(number)[skip:]:
                        put(batch)
                    number, skip = number + 1, 0
            except BaseException as error:
                put(error)

        thread = threading.Thread(target=produce, daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            thread.join()

    def _read_groups(self, source: Source, groups: tuple[RowGroup, ...]) -> TargetRows:
        folder = self._workdir.targets(source)
        return concatenate([read_rows(self._workdir, f"{folder}/{shard}", number) for shard, number, _ in groups])


def finished_manifest(
    workdir: Workdir, source: Source, vocabulary: MergedVocabulary, heldout: bool = False
) -> Manifest | None:
    """The manifest of a source's finished targets in this vocabulary, or None where nothing was taught.

    Raises StaleError where they are unfinished, or were made with another merged vocabulary.
    """
    manifest = read_manifest(workdir, workdir.targets(source, heldout))
    remedy = f"run `python -m pipeline teach RECIPE --lang {source.language} --teacher {source.teacher}"
    if manifest is None:
        return None
    if manifest.fingerprints["vocabulary"] != vocabulary.remap_fingerprint(source.teacher):
        raise StaleError(f"{source}: its targets were made with another merged vocabulary; {remedy} --force`")
    if not manifest.complete:
        raise StaleError(f"{source}: {len(manifest.shards)} of {manifest.total} shards are taught; {remedy}`")
    return manifest


def _taught(workdir: Workdir, source: Source, vocabulary: MergedVocabulary) -> Manifest:
    manifest = finished_manifest(workdir, source, vocabulary)
    if manifest is None:
        raise StudentError(
            f"{source}: there are no targets in {workdir.path(workdir.targets(source))}; "
            f"run `python -m pipeline teach RECIPE --lang {source.language} --teacher {source.teacher}`"
        )
    if not sum(row.rows for row in manifest.shards):
        raise StudentError(
            f"{source}: its targets are empty: does the tokenizer of {source.teacher} know this language?"
        )
    return manifest


def _row_groups(manifest: Manifest) -> tuple[RowGroup, ...]:
    return tuple(
        RowGroup(row.name, number, min(ROW_GROUP_ROWS, row.rows - number * ROW_GROUP_ROWS))
        for row in manifest.shards
        for number in range(-(-row.rows // ROW_GROUP_ROWS))
    )
