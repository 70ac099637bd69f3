"""Time two or more ways of doing the same thing in turn, so that a machine's drift hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def interleaved(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each way over `repeats` rounds, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def show(title: str, medians: dict[str, float], work: float, unit: str, against: str) -> None:
    """Print every way's median seconds, its rate, and how many times faster than `against` it is."""
    print(f"\n{title}")
    for name, seconds in medians.items():
        ratio = medians[against] / seconds
        print(f"  {name:42} {seconds:8.2f} s  {work / seconds:10.1f} {unit}/s  {ratio:5.2f}×")
