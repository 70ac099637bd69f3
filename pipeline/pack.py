"""Token ids of documents → windows of at most `max_length` with the tokenizer's special tokens around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sequences import Sequences
from recipe import VocabularyError
from targets.ragged import lengths_to_offsets
from vocab.identity import read_identities

SHORTEST = 4
_PROBES = ("a", "1", "the")


@dataclass(frozen=True)
class Packer:
    """How one tokenizer's ids become sequences: its special ids around, the longest window, where words start."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    max_length: int
    starts_word: npt.NDArray[np.bool_]

    def cuts(self, ids: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
        """ids of one document → start and stop of its windows. A cut moves back to a word start in its last quarter.

        What is left of a document is dropped if it has fewer than four tokens.
        """
        room = self.room
        found = []
        start = 0
        while len(ids) - start >= SHORTEST:
            stop = min(start + room, len(ids))
            if stop < len(ids):
                earliest = stop - room // 4
                stop = next((at for at in range(stop, earliest, -1) if self.starts_word[ids[at]]), stop)
            found.append((start, stop))
            start = stop
        return found

    @property
    def room(self) -> int:
        """The most tokens of text in a window."""
        return self.max_length - len(self.prefix) - len(self.suffix)

    def pack(self, documents: npt.NDArray[np.uint64], encoded: Sequence[list[int]]) -> Sequences:
        """documents[n], their ids → the sequences of each, in order."""
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        flat = np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum()))
        offsets = lengths_to_offsets(lengths)
        one = np.flatnonzero((lengths >= SHORTEST) & (lengths <= self.room))
        owners, numbers = [one], [np.zeros(len(one), np.int64)]
        starts, stops = [offsets[one]], [offsets[one + 1]]
        for row in np.flatnonzero(lengths > self.room).tolist():
            cuts = np.array(self.cuts(flat[offsets[row] : offsets[row + 1]]), np.int64)
            owners.append(np.full(len(cuts), row))
            numbers.append(np.arange(len(cuts)))
            starts.append(cuts[:, 0] + offsets[row])
            stops.append(cuts[:, 1] + offsets[row])
        owner, number, start, stop = map(np.concatenate, (owners, numbers, starts, stops))
        order = np.lexsort((number, owner))
        owner, number = owner[order], number[order]
        ids, out = self._frame(flat, start[order], stop[order])
        return Sequences(sequence_id(documents[owner], number), documents[owner], ids, out)

    def _frame(self, flat: Any, start: Any, stop: Any) -> tuple[Any, Any]:
        """The special ids around each stretch of flat → ids, offsets."""
        before, after = len(self.prefix), len(self.suffix)
        offsets = lengths_to_offsets(stop - start + before + after)
        ids = np.empty(int(offsets[-1]), np.int32)
        inside = np.ones(len(ids), bool)
        for at, token in enumerate(self.prefix):
            ids[offsets[:-1] + at], inside[offsets[:-1] + at] = token, False
        for at, token in enumerate(reversed(self.suffix), 1):
            ids[offsets[1:] - at], inside[offsets[1:] - at] = token, False
        sizes = stop - start
        ids[inside] = flat[np.repeat(start - lengths_to_offsets(sizes)[:-1], sizes) + np.arange(int(sizes.sum()))]
        return ids, offsets

    def pack_across(self, documents: npt.NDArray[np.uint64], encoded: Sequence[list[int]]) -> Sequences:
        """The same, but windows are filled across documents, with a separator after each.

        A window is named by the document that its first token is of, and its number among the windows that begin there.
        What is left at the end is dropped if it has fewer than four tokens.
        """
        separator = list(self.suffix[:1])
        lengths = np.array([len(ids) + len(separator) for ids in encoded], np.int64)
        flat = np.fromiter((token for ids in encoded for token in (*ids, *separator)), np.int32, int(lengths.sum()))
        start = np.arange(0, len(flat), self.room)
        start = start[len(flat) - start >= SHORTEST]
        stop = np.minimum(start + self.room, len(flat))
        owner = np.searchsorted(lengths_to_offsets(lengths), start, side="right") - 1
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        number = np.arange(len(owner)) - np.repeat(first, np.diff([*first, len(owner)]))
        ids, offsets = self._frame(flat, start, stop)
        return Sequences(sequence_id(documents[owner], number), documents[owner], ids, offsets)


def make_packer(name: str, tokenizer: Any, max_length: int) -> Packer:
    """Find a tokenizer's special ids by what it does to a text. Raises VocabularyError if max_length has no room."""
    prefix, suffix = _frame(name, tokenizer)
    if max_length - len(prefix) - len(suffix) < SHORTEST:
        raise VocabularyError(f"sequences.max_length: {max_length} leaves no room beside the special tokens of {name}")
    identities = read_identities(name, tokenizer).identities
    starts = np.array([identity is not None and identity.starts_word for identity in identities])
    return Packer(prefix, suffix, max_length, starts)


def sequence_id(documents: npt.NDArray[np.uint64], windows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """64 bits that name a window of a document, the same for every teacher and layout of shards."""
    return documents + windows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _frame(name: str, tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    for text in _PROBES:
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        framed = tokenizer(text)["input_ids"]
        for at in range(len(framed) - len(bare) + 1):
            if bare and framed[at : at + len(bare)] == bare:
                return tuple(framed[:at]), tuple(framed[at + len(bare) :])
    raise VocabularyError(f"teachers.{name}: cannot tell which special tokens its tokenizer puts around a text")
