"""`mergedistill vocab|pipeline|student …`: the same commands as `python -m`, under one name."""

from __future__ import annotations

import importlib
import sys

_ROOMS = ("vocab", "pipeline", "student")


def main() -> int:
    """Dispatch to a room's own command line."""
    if len(sys.argv) < 2 or sys.argv[1] not in _ROOMS:
        print(f"usage: mergedistill {{{','.join(_ROOMS)}}} COMMAND RECIPE …", file=sys.stderr)
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 2
    return int(importlib.import_module(f"{sys.argv[1]}.__main__").main(sys.argv[2:]))
