"""One process or many: what `torchrun` sets up, and nothing where it did not start us."""

from __future__ import annotations

import atexit
import os
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


def world() -> World:
    """Join the process group that torchrun describes in the environment (nccl on GPUs, gloo on CPUs), once."""
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if size == 1:
        return World(0, 1, device)
    if cuda:
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        try:
            distributed.init_process_group("nccl" if cuda else "gloo")
        except (RuntimeError, ValueError) as error:
            cause = " ".join(str(error).split())[:200]
            raise StudentError(
                f"torchrun: the processes cannot find each other ({cause}); is the port in use?"
            ) from None
        # It cannot be joined twice, and a command may train several runs.
        atexit.register(distributed.destroy_process_group)
    return World(distributed.get_rank(), size, device)
