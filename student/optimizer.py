"""AdamW and its learning rate, as the recipe's training section says."""

from __future__ import annotations

import math

import torch
from torch import nn

from recipe.schema import Training


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """Fused AdamW; matrices decay, biases and norms do not (Loshchilov & Hutter 2019)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.lr, betas=training.betas, fused=True)


def learning_rate(training: Training, step: int) -> float:
    """The rate of step 1, 2, …, steps: linear warm-up, then the schedule, down to zero unless it is constant."""
    warmup = round(training.warmup * training.steps)
    if step <= warmup:
        return training.lr * step / warmup
    done = (step - warmup) / (training.steps - warmup + 1)
    match training.schedule:
        case "constant":
            return training.lr
        case "cosine":
            return training.lr * 0.5 * (1.0 + math.cos(math.pi * done))
        case "linear":
            return training.lr * (1.0 - done)
