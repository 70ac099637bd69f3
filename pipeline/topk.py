"""From logits to sparse targets on the device: logsumexp, top-k, gold, and nothing dense leaves."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 128


def top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row, largest first: logits[R, V] → values[R, k], ids[R, k].

    Exact, and on a CPU several times faster than torch.topk over a large V: the k largest entries lie in
    the k blocks with the largest maxima, so one pass of block maxima leaves k·128 candidates a row.
    """
    rows, width = logits.shape
    blocks = width // _BLOCK
    if logits.is_cuda or blocks <= 4 * k:
        return torch.topk(logits, k, dim=1)
    whole = logits[:, : blocks * _BLOCK].view(rows, blocks, _BLOCK)
    best = torch.topk(whole.amax(dim=2), k, dim=1).indices.sort(dim=1).values
    candidates = whole.gather(1, best[:, :, None].expand(-1, -1, _BLOCK)).view(rows, -1)
    ids = (best[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=logits.device)).view(rows, -1)
    if blocks * _BLOCK < width:
        rest = torch.arange(blocks * _BLOCK, width, device=logits.device)
        candidates = torch.cat([candidates, logits[:, rest]], dim=1)
        ids = torch.cat([ids, rest.expand(rows, -1)], dim=1)
    values, place = torch.topk(candidates, k, dim=1)
    return values, ids.gather(1, place)


def sparse_targets(logits: Tensor, gold: Tensor, dropped: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """logits[R, V], gold[R], dropped[D] (ids without a merged id) → ids[R, k], logprobs[R, k], gold_logprob[R].

    Log-probabilities are logit − logsumexp over the whole vocabulary in float32, dropped ids included, so
    what is dropped stays visible as residual mass.
    """
    logits = logits.float()
    normaliser = torch.logsumexp(logits, dim=1)
    gold_logprob = logits.gather(1, gold[:, None]).squeeze(1) - normaliser
    if len(dropped):
        logits[:, dropped] = -torch.inf
    values, ids = top_k(logits, k)
    return ids, values - normaliser[:, None], gold_logprob
