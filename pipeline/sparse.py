"""From logits to sparse targets on the device: logsumexp, top-k or draws, gold, and nothing dense leaves."""

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


def drawn_targets(
    logits: Tensor, gold: Tensor, dropped: Tensor, points: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logits[R, V], gold[R], dropped[D], points[R, N] ascending → ids, logprobs, draws: [R, N]; gold_logprob[R].

    The ids are those that the points, in [0, 1), fall on in the cumulative distribution, the most likely first; draws
    is how many did, 0 where there is no further id. draws/N is an unbiased estimate of the distribution. A dropped id
    counts for nothing, so what is dropped stays visible as missing draws.
    """
    logits = logits.float()
    normaliser = logsumexp(logits)
    gold_logprob = logits.gather(1, gold[:, None]).squeeze(1) - normaliser
    step = _CPU_ROWS if logits.device.type == "cpu" else max(1, len(logits))
    hit = []
    for at in range(0, len(logits), step):
        rows = slice(at, at + step)
        # In float64: rounding of a sum over 100,000 tokens would shift the points.
        mass = torch.exp(logits[rows] - normaliser[rows, None]).double().cumsum(1)
        wanted = points[rows].double() * mass[:, -1:]
        hit.append(torch.searchsorted(mass, wanted, right=True).clamp_max(logits.shape[1] - 1))
    found = torch.cat(hit) if hit else points.long()
    new = torch.ones_like(found, dtype=torch.bool)
    new[:, 1:] = found[:, 1:] != found[:, :-1]
    run = new.cumsum(1) - 1
    ids = torch.zeros_like(found).scatter_(1, run, found)
    draws = torch.zeros_like(found).scatter_add_(1, run, torch.ones_like(found))
    if len(dropped):
        gone = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        gone[dropped] = True
        draws.masked_fill_(gone[ids], 0)
    logprobs = (logits.gather(1, ids) - normaliser[:, None]).masked_fill(draws == 0, -torch.inf)
    order = torch.argsort(logprobs, dim=1, descending=True, stable=True)
    return ids.gather(1, order), logprobs.gather(1, order), draws.gather(1, order), gold_logprob
