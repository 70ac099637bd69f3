"""The loss of a merge, in one pass over the masked rows: λ·KD + (1−λ)·MLM against a softmax over V.

With h[R, d] the projection's input, z = h·Wᵀ + b the logits, y the gold token and p the teacher's target
(sparse, on the stored ids K), both terms are cross-entropies of one softmax s = softmax(z):

    loss = lse(z)·Σq − Σ qᵢ zᵢ          ∂loss/∂z = s·Σq − q          q = λ·p + (1−λ)·onehot(y)

so one chunk of logits gives the value and, in place, its own gradient; no [R, V] tensor exists. A truncated
teacher is a choice of q: `renormalise` scales p to one on K (MergeDistill, arXiv 2106.02834, section 3.3);
`ghost` keeps the true p and treats the residual r = 1 − Σp as one class, which outside K is q = r·s/(1 − Σ_K s);
`sampled` takes the shares of draws as they are, an unbiased estimate of all of p (arXiv 2503.16870).
At a temperature τ ≠ 1 the KD term reads softmax(z/τ) and is scaled by τ² (Hinton et al. 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class LossSettings:
    """λ, τ and what becomes of the teacher's residual mass."""

    kd_weight: float
    temperature: float = 1.0
    tail: Literal["renormalise", "ghost", "sampled"] = "renormalise"


class Loss(NamedTuple):
    """Sums over rows, divided by `normaliser`; only `total` carries a gradient."""

    total: Tensor
    kd: Tensor
    mlm: Tensor


def teacher_target(logprobs: Tensor, settings: LossSettings) -> Tensor:
    """logprobs[R, K] (−inf where nothing is stored) → the target's weights p[R, K]."""
    if settings.tail != "renormalise":
        return logprobs.exp()
    return torch.softmax(logprobs / settings.temperature, dim=1)


def distillation_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gold: Tensor,
    ids: Tensor,
    target: Tensor,
    settings: LossSettings,
    normaliser: float,
) -> Loss:
    """hidden[R, d], weight[V, d], bias[V] or None, gold[R], ids[R, K], target[R, K] → Loss.

    Exact in value and gradient for hidden, weight and bias; the target is a constant.
    """
    apply: Any = _SparseCrossEntropy.apply
    return Loss(*apply(hidden, weight, bias, gold, ids, target, settings, normaliser))


class _SparseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gold: Tensor,
        ids: Tensor,
        target: Tensor,
        settings: LossSettings,
        normaliser: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_grad = any(ctx.needs_input_grad[:3])
        kind = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else None
        h, w = (hidden.to(kind), weight.to(kind)) if kind else (hidden, weight)
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight if needs_grad else weight[:0])
        d_bias = None if bias is None else torch.zeros_like(bias)
        kd, mlm = weight.new_zeros(()), weight.new_zeros(())
        chunk = max(1, _CHUNK_BYTES // (4 * weight.shape[0]))
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = h[rows] @ w.T
            logits = logits.float() if kind else logits
            if bias is not None:
                logits += bias
            kd_sum, mlm_sum = _chunk(logits, gold[rows], ids[rows], target[rows], settings, needs_grad)
            kd += kd_sum
            mlm += mlm_sum
            if needs_grad:
                gradient = logits.mul_(1.0 / normaliser).to(h.dtype)
                d_hidden[rows] = gradient @ w
                if kind:
                    d_weight += gradient.T @ h[rows]
                else:
                    d_weight.addmm_(gradient.T, h[rows])
                if d_bias is not None:
                    d_bias += logits.sum(0)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        kd, mlm = kd / normaliser, mlm / normaliser
        total = settings.kd_weight * kd + (1.0 - settings.kd_weight) * mlm
        ctx.mark_non_differentiable(kd, mlm)
        return total, kd, mlm

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if saved is None else saved * grads[0] for saved in ctx.saved_tensors]
        return (*scaled, None, None, None, None, None)


def _chunk(
    logits: Tensor, gold: Tensor, ids: Tensor, target: Tensor, settings: LossSettings, needs_grad: bool
) -> tuple[Tensor, Tensor]:
    """Sums of the KD and MLM terms; if asked, `logits` [c, V] becomes its own gradient in place."""
    lam, tau = settings.kd_weight, settings.temperature
    normaliser = torch.logsumexp(logits, dim=1, keepdim=True)
    gold = gold[:, None]
    stored = logits.gather(1, ids)
    mlm = (normaliser - logits.gather(1, gold)).sum()
    if tau != 1.0 and lam > 0.0:
        soft_normaliser = torch.logsumexp(logits / tau, dim=1, keepdim=True)
        kd = tau**2 * (target * (soft_normaliser - stored / tau)).sum()
        if needs_grad:
            soft = torch.exp(logits / tau - soft_normaliser).scatter_add_(1, ids, -target)
            logits.sub_(normaliser).exp_().mul_(1.0 - lam).add_(soft, alpha=lam * tau)
            logits.scatter_add_(1, gold, torch.full_like(target[:, :1], lam - 1.0))
        return kd, mlm

    kd = (target * (normaliser - stored)).sum()
    outside = torch.ones_like(normaliser)
    inside = target
    if settings.tail == "sampled":
        # Draws of dropped tokens are missing, so the target may sum to less than one.
        outside = target.sum(1, keepdim=True)
    if settings.tail == "ghost":
        student = torch.exp(stored - normaliser).masked_fill(target == 0.0, 0.0)
        unstored = (1.0 - student.sum(1, keepdim=True)).clamp_min(1e-7)
        residual = (1.0 - target.sum(1, keepdim=True)).clamp_min(0.0)
        kd = kd - (residual * unstored.log()).sum()
        # Outside K the gradient of the KD term is s·(1 − r/(1−Σ_K s)); inside it stays s − p.
        outside = 1.0 - residual / unstored
        inside = target - student * (1.0 - outside)
    if needs_grad:
        logits.sub_(normaliser).exp_().mul_(lam * outside + (1.0 - lam))
        logits.scatter_add_(1, ids, -lam * inside)
        logits.scatter_add_(1, gold, torch.full_like(target[:, :1], lam - 1.0))
    return kd, mlm
