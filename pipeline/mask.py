"""Which tokens the teacher has to guess: a pure function of (seed, sequence, copy), on any machine, for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipe.schema import Masking

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MaskRule:
    """The masking section of a recipe, applied to one teacher's ids.

    maskable[V] bool: ids that may be guessed (no special tokens, none that the merged vocabulary drops);
    starts_word[V] bool: ids that begin a word, for whole-word masking; mask_id: the teacher's mask token.
    """

    settings: Masking
    seed: int
    mask_id: int
    maskable: Array
    starts_word: Array

    def apply(self, input_ids: Array, sequence_id: int, copy: int) -> tuple[Array, Array]:
        """input_ids[n] → masked input_ids[n], positions[m] ascending; at least one unless nothing is maskable.

        The number of masked tokens is the rate's share of the maskable ones, rounded; with whole words it is
        exceeded by at most the rest of a word; with coverage a copy may have none. 80-10-10 is BERT's rule (Devlin et
        al. 2019, section 3.1).
        """
        candidates = np.flatnonzero(self.maskable[input_ids])
        if not len(candidates):
            return input_ids, candidates
        wanted = max(1, round(self.settings.rate * len(candidates)))
        uniform = _uniforms(self.seed, sequence_id, copy, 3 * len(input_ids)).reshape(3, -1)
        if self.settings.coverage:
            positions = self._covering(input_ids, candidates, sequence_id, copy)
        elif self.settings.whole_word:
            positions = self._whole_words(input_ids, candidates, uniform[0], wanted)
        else:
            order = np.argsort(uniform[0, candidates], kind="stable")
            positions = np.sort(candidates[order[:wanted]])
        masked = input_ids.copy()
        if self.settings.strategy == "mask-only":
            masked[positions] = self.mask_id
            return masked, positions
        action = uniform[1, positions]
        masked[positions[action < 0.8]] = self.mask_id
        random = positions[(action >= 0.8) & (action < 0.9)]
        vocabulary = np.flatnonzero(self.maskable)
        masked[random] = vocabulary[(uniform[2, random] * len(vocabulary)).astype(np.int64)]
        return masked, positions

    def points(self, positions: Array, length: int, sequence_id: int, copy: int, encoding: str, draws: int) -> Array:
        """points[m, draws] in [0, 1), ascending: where the distribution at each masked position is drawn from.

        `sampled`: independent ones; `systematic`: equally spaced from one random offset. A function of (seed, sequence,
        copy, position).
        """
        if encoding == "systematic":
            offset = _uniforms(self.seed, sequence_id, copy, length, stream=1)[positions]
            return np.asarray((offset[:, None] + np.arange(draws)) / draws)
        uniform = _uniforms(self.seed, sequence_id, copy, length * draws, stream=2).reshape(length, draws)
        return np.sort(uniform[positions], axis=1)

    def _whole_words(self, input_ids: Array, candidates: Array, uniform: Array, wanted: int) -> Array:
        begins, word = self._words(input_ids, candidates)
        order = np.argsort(uniform[candidates[begins]], kind="stable")
        sizes = np.bincount(word)[order]
        chosen = order[: np.searchsorted(np.cumsum(sizes), wanted) + 1]
        return np.asarray(candidates[np.isin(word, chosen)])

    def _covering(self, input_ids: Array, candidates: Array, sequence_id: int, copy: int) -> Array:
        """The copy's share of one random order that all copies have in common, so that each token is in one share."""
        begins, unit = np.ones(len(candidates), bool), np.arange(len(candidates))
        if self.settings.whole_word:
            begins, unit = self._words(input_ids, candidates)
        # Copies go up to 254, so this counter is nobody else's.
        uniform = _uniforms(self.seed, sequence_id, 255, len(input_ids))[candidates[begins]]
        share = np.argsort(np.argsort(uniform, kind="stable"), kind="stable") % self.settings.copies
        return np.asarray(candidates[share[unit] == copy])

    def _words(self, input_ids: Array, candidates: Array) -> tuple[Array, Array]:
        """begins[c]: whether a candidate starts a word; word[c]: which one it is in."""
        # A word ends where the next begins, and at any token that may not be masked.
        begins = self.starts_word[input_ids[candidates]] | (np.diff(candidates, prepend=-2) > 1)
        return begins, np.cumsum(begins) - 1


def _uniforms(seed: int, sequence_id: int, copy: int, count: int, stream: int = 0) -> Array:
    """count numbers in [0, 1) from Philox; raw bits, since NumPy keeps those stable between versions, not draws.

    stream: 0 for masks, 1 and 2 for draws, which share nothing.
    """
    # As uint64: NumPy would round a list with a number above 2⁶³ to floats.
    key, counter = (np.array(numbers, np.uint64) for numbers in ((seed, sequence_id), (0, 0, stream, copy)))
    bits = np.random.Philox(key=key, counter=counter)
    return np.asarray((bits.random_raw(count) >> np.uint64(11)) * 2.0**-53)
