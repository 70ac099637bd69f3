"""Read the real text that benchmarks use."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import zstandard


def read_lines(path: Path, count: int, start: int = 0) -> list[str]:
    """`count` lines of a .zst text file from all over it, in an order that is the same in every run; fewer if it ends.

    `start`: skip so many of that order first, for text that another call has not seen.
    """
    with path.open("rb") as stream:
        lines = (
            io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stream), encoding="utf-8").read().split("\n")
        )
    order = np.random.default_rng(0).permutation(len(lines))[start : start + count]
    return [lines[number] for number in order]
