"""Checkpoints: safetensors weights, optimizer, and a few numbers; whole or absent, and only ever of this run."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from recipe import StaleError, StudentError
from student.stream import START, Place


@dataclass(frozen=True)
class Progress:
    """How far a run is: optimizer steps, tokens and masked rows seen, place in the stream."""

    step: int = 0
    tokens: int = 0
    rows: int = 0
    skipped: int = 0
    place: Place = START


def save(
    folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, identity: Any, keep: int
) -> Path:
    """Write `step-…` under a temporary name, rename it, and delete all but the last `keep`.

    Raises StudentError if the disk is full; the checkpoints before stay as they are.
    """
    final = folder / f"step-{progress.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_model(model, str(temporary / "model.safetensors"))
        torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
        state = {"progress": asdict(progress) | {"place": list(progress.place)}, "identity": identity}
        (temporary / "state.json").write_text(json.dumps(state, indent=1))
    except (OSError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StudentError(f"{final}: cannot be saved ({error}); earlier checkpoints are intact") from None
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def resume(
    folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer | None, identity: dict[str, str]
) -> Progress:
    """Load the newest checkpoint into model and optimizer; Progress() where there is none.

    Raises StaleError where it was made with another vocabulary, other targets or another architecture.
    """
    found = checkpoints(folder)
    if not found:
        return Progress()
    newest = found[-1]
    try:
        state = json.loads((newest / "state.json").read_text())
        changed = [name for name, value in identity.items() if state["identity"].get(name) != value]
        if changed:
            raise StaleError(
                f"{newest}: was trained with another {' and another '.join(changed)}; "
                f"delete {folder} to train anew, or restore the recipe"
            )
        load_model(model, newest / "model.safetensors")
        if optimizer is not None:
            optimizer.load_state_dict(torch.load(newest / "optimizer.pt", weights_only=True))
        progress = state["progress"]
        return Progress(**{**progress, "place": Place(*progress["place"])})
    except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        cause = " ".join(str(error).split())[:200]
        raise StudentError(f"{newest}: is damaged ({cause}); delete it to go on from the one before") from None
