"""One process or many: what `torchrun` sets up, and nothing where it did not start us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from recipe import StudentError


@dataclass(frozen=True)
class World:
    """This process among all: rank of size, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.size > 1:
            distributed.barrier()


@contextmanager
def world() -> Iterator[World]:
    """Join the process group that torchrun describes in the environment (nccl on GPUs, gloo on CPUs)."""
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    try:
        distributed.init_process_group("nccl" if cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        raise StudentError(f"torchrun: the processes cannot find each other ({error}); is the port in use?") from None
    try:
        yield World(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
