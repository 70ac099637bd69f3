"""In which order samples are seen: pure functions of (what is on disk, seed, position), with no state to lose.

Training is cut into rounds of about `window` samples. In round r a source gives its samples numbered
⌊r·window·p⌋ to ⌊(r+1)·window·p⌋, where p is its share; sample j of a source is sample j mod n of epoch
j // n. An epoch of a source is a permutation of its row groups, taken a few at a time, with the rows of
those few permuted. So any round can be made without the rounds before it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recipe import Source

Ints = npt.NDArray[np.int64]

GROUPS_AT_ONCE = 8


class RowGroup(NamedTuple):
    """One row group of a source: its shard file, its number in it, its rows."""

    shard: str
    number: int
    rows: int


class Stretch(NamedTuple):
    """Some rows of a few row groups read together: `rows` index into their concatenation."""

    groups: tuple[RowGroup, ...]
    rows: Ints


def shares(rows: dict[Source, int], alpha: float) -> dict[Source, float]:
    """How often each source is drawn: a language ∝ (its rows)^α, its sources ∝ their rows. Sums to one."""
    by_language: dict[str, int] = {}
    for source, count in rows.items():
        by_language[source.language] = by_language.get(source.language, 0) + count
    total = sum(count**alpha for count in by_language.values())
    return {
        source: by_language[source.language] ** alpha / total * count / by_language[source.language]
        for source, count in rows.items()
    }


def round_range(share: float, window: int, number: int) -> tuple[int, int]:
    """First and past-the-last sample of a source in one round."""
    return int(number * window * share), int((number + 1) * window * share)


def stretches(groups: tuple[RowGroup, ...], start: int, stop: int, seed: int, stream: int) -> list[Stretch]:
    """Samples [start, stop) of a source as row groups to read and rows to take, in order.

    `stream` tells the sources of one seed apart.
    """
    per_epoch = sum(group.rows for group in groups)
    found: list[Stretch] = []
    while start < stop:
        epoch, within = divmod(start, per_epoch)
        for pack, first, rows in _packs(groups, seed, stream, epoch):
            if first <= within < first + len(rows):
                take = rows[within - first : within - first + stop - start]
                found.append(Stretch(pack, take))
                start += len(take)
                break
    return found


def _packs(
    groups: tuple[RowGroup, ...], seed: int, stream: int, epoch: int
) -> list[tuple[tuple[RowGroup, ...], int, Ints]]:
    """(row groups read together, number of the first sample, order of their rows) for one epoch."""
    order = generator(seed, stream, epoch).permutation(len(groups))
    packs = []
    first = 0
    for at in range(0, len(groups), GROUPS_AT_ONCE):
        pack = tuple(groups[i] for i in order[at : at + GROUPS_AT_ONCE])
        rows = generator(seed, stream, epoch, at + 1).permutation(sum(group.rows for group in pack))
        packs.append((pack, first, rows))
        first += len(rows)
    return packs


def token_budget_batches(lengths: Ints, batch_tokens: int, random: np.random.Generator) -> list[Ints]:
    """lengths[n] → batches of row numbers with at most `batch_tokens` padded tokens, similar lengths together.

    Rows of one length are shuffled, and so are the batches.
    """
    shuffled = random.permutation(len(lengths))
    order = shuffled[np.argsort(-lengths[shuffled], kind="stable")]
    found: list[Ints] = []
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        found.append(order[start : start + size])
        start += size
    return [found[i] for i in random.permutation(len(found))]


def generator(*key: Any) -> np.random.Generator:
    """A random generator for a key of integers."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(part) for part in key])))
