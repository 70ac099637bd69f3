"""Ragged arrays as one flat array and offsets: row i is flat[offsets[i]:offsets[i + 1]]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def lengths_to_offsets(lengths: npt.ArrayLike) -> Ints:
    """lengths[n] → offsets[n + 1], beginning with 0."""
    offsets = np.zeros(len(np.asarray(lengths)) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def gather(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Where the elements of the chosen rows lie in the flat array, and the offsets of the result.

    offsets[n + 1], rows[m] → index[sum of the chosen lengths], new offsets[m + 1]
    """
    lengths = (offsets[1:] - offsets[:-1])[rows]
    new = lengths_to_offsets(lengths)
    index = np.arange(new[-1]) + np.repeat(offsets[rows] - new[:-1], lengths)
    return index, new
