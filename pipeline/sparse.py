"""From logits to sparse targets on the device: logsumexp, top-k, gold, and nothing dense leaves."""

from __future__ import annotations

import torch
from torch import Tensor

_CPU_ROWS = 16


def logsumexp(logits: Tensor) -> Tensor:
    """logits[R, V] → [R]; on a CPU a few rows at a time, since exp(logits) then stays in the cache."""
    step = _CPU_ROWS if logits.device.type == "cpu" else max(1, len(logits))
    return torch.cat([torch.logsumexp(logits[at : at + step], dim=1) for at in range(0, max(1, len(logits)), step)])


def sparse_targets(logits: Tensor, gold: Tensor, dropped: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """logits[R, V], gold[R], dropped[D] (ids without a merged id) → ids[R, k], logprobs[R, k], gold_logprob[R].

    Log-probabilities are logit − logsumexp over the whole vocabulary in float32, dropped ids included, so
    what is dropped stays visible as residual mass.
    """
    logits = logits.float()
    normaliser = logsumexp(logits)
    gold_logprob = logits.gather(1, gold[:, None]).squeeze(1) - normaliser
    if len(dropped):
        logits[:, dropped] = -torch.inf
    values, ids = torch.topk(logits, k, dim=1)
    return ids, values - normaliser[:, None], gold_logprob
