"""Token ids of documents → windows of at most `max_length` with the tokenizer's special tokens around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipe import VocabularyError
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

    def windows(self, ids: list[int]) -> list[list[int]]:
        """ids of one document → its sequences. A cut moves back to a word start if one is in the last quarter.

        What is left of a document is dropped if it has fewer than four tokens.
        """
        room = self.max_length - len(self.prefix) - len(self.suffix)
        found = []
        start = 0
        while len(ids) - start >= SHORTEST:
            stop = min(start + room, len(ids))
            if stop < len(ids):
                earliest = stop - room // 4
                stop = next((at for at in range(stop, earliest, -1) if self.starts_word[ids[at]]), stop)
            found.append([*self.prefix, *ids[start:stop], *self.suffix])
            start = stop
        return found

    def stream(self, documents: Iterable[tuple[int, list[int]]]) -> Iterator[tuple[int, int, list[int]]]:
        """(document, ids) … → (document, number, sequence) of windows filled across documents, a separator after each.

        A window is named by the document that its first token is of, and its number among the windows that begin there.
        What is left at the end is dropped if it has fewer than four tokens.
        """
        room = self.max_length - len(self.prefix) - len(self.suffix)
        waiting: list[int] = []
        begins: list[tuple[int, int]] = []  # (place in waiting, document), ascending
        last, number = -1, 0
        for document, ids in documents:
            begins.append((len(waiting), document))
            waiting += [*ids, *self.suffix[:1]]
            while len(waiting) >= room:
                last, number = _first(begins, last, number)
                yield last, number, [*self.prefix, *waiting[:room], *self.suffix]
                waiting = waiting[room:]
                begins = [(at - room, each) for at, each in begins]
        if len(waiting) >= SHORTEST:
            last, number = _first(begins, last, number)
            yield last, number, [*self.prefix, *waiting, *self.suffix]


def _first(begins: list[tuple[int, int]], last: int, number: int) -> tuple[int, int]:
    """The document at place 0, and how many windows before began in it; forgets the documents before it."""
    while len(begins) > 1 and begins[1][0] <= 0:
        begins.pop(0)
    document = begins[0][1]
    return document, number + 1 if document == last else 0


def make_packer(name: str, tokenizer: Any, max_length: int) -> Packer:
    """Find a tokenizer's special ids by what it does to a text. Raises VocabularyError if max_length has no room."""
    prefix, suffix = _frame(name, tokenizer)
    if max_length - len(prefix) - len(suffix) < SHORTEST:
        raise VocabularyError(f"sequences.max_length: {max_length} leaves no room beside the special tokens of {name}")
    identities = read_identities(name, tokenizer).identities
    starts = np.array([identity is not None and identity.starts_word for identity in identities])
    return Packer(prefix, suffix, max_length, starts)


def sequence_id(document: int, window: int) -> int:
    """64 bits that name a window of a document, the same for every teacher and layout of shards."""
    return (document + window * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF


def _frame(name: str, tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    for text in _PROBES:
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        framed = tokenizer(text)["input_ids"]
        for at in range(len(framed) - len(bare) + 1):
            if bare and framed[at : at + len(bare)] == bare:
                return tuple(framed[:at]), tuple(framed[at + len(bare) :])
    raise VocabularyError(f"teachers.{name}: cannot tell which special tokens its tokenizer puts around a text")
