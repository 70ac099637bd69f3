"""Which device a worker process runs its teacher on: with several GPUs each process takes one of its own."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import IO

import torch

_HELD: list[IO[bytes]] = []


@functools.cache
def choose_device(wanted: str) -> torch.device:
    """`cpu`, or the first GPU that no other process of this user took; `auto` is a GPU where there is one."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count()
    return torch.device("cuda", claim_slot(count) if count > 1 else 0)


def claim_slot(count: int, folder: str | None = None) -> int:
    """A number below `count` that no other living process holds; by process id if all are held.

    Held for this process's life by a lock on a file, which the system lets go however a process ends.
    """
    import fcntl

    place = Path(folder or tempfile.gettempdir()) / f"mergedistill-gpus-{os.getuid()}"
    place.mkdir(exist_ok=True)
    for slot in range(count):
        handle = (place / str(slot)).open("a+b")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            continue
        _HELD.append(handle)
        return slot
    return os.getpid() % count
