from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from student import loss
from student.loss import LossSettings, distillation_loss, teacher_target

R, D, V, K = 13, 8, 40, 5


@pytest.fixture(autouse=True, scope="module")
def chunks_of_four_rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "_CHUNK_BYTES", 4 * V * 4)
        yield


def dense_reference(z: Tensor, gold: Tensor, ids: Tensor, target: Tensor, choice: LossSettings) -> Tensor:
    """The definition, over dense float64 tensors."""
    log_s = torch.log_softmax(z, dim=1)
    mlm = -log_s.gather(1, gold[:, None]).sum()
    tau = choice.temperature
    kd = -(tau**2) * (target * torch.log_softmax(z / tau, dim=1).gather(1, ids)).sum()
    if choice.tail == "ghost":
        student = (log_s.gather(1, ids).exp() * (target > 0)).sum(1)
        kd = kd - ((1 - target.sum(1)) * torch.log1p(-student)).sum()
    return choice.kd_weight * kd + (1 - choice.kd_weight) * mlm


@given(
    seed=st.integers(0, 10_000),
    kd_weight=st.sampled_from([0.0, 0.3, 1.0]),
    mode=st.sampled_from([("renormalise", 1.0), ("renormalise", 2.5), ("ghost", 1.0), ("sampled", 1.0)]),
    with_bias=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_value_and_gradients_equal_the_dense_definition(
    seed: int, kd_weight: float, mode: tuple[str, float], with_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    choice = LossSettings(kd_weight, mode[1], mode[0])  # type: ignore[arg-type]
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((R, D), (V, D), (V,))]
    gold = torch.randint(0, V, (R,), generator=generator)
    teacher = torch.log_softmax(2 * torch.randn(R, V, generator=generator), dim=1)
    logprobs, ids = teacher.topk(K, dim=1)
    logprobs[2, 3:], ids[2, 3:] = -torch.inf, 0
    target = teacher_target(logprobs, choice)

    leaves = [x.clone().requires_grad_() for x in (exact if with_bias else exact[:2])]
    z = leaves[0] @ leaves[1].T + (leaves[2] if with_bias else 0.0)
    expected = dense_reference(z, gold, ids, target.double(), choice) / 7.0
    # In float32 the ghost's residual class, 1 − Σ_K s, cancels where the student agrees with the teacher.
    for kind, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4 if mode[0] == "ghost" else 1e-5)):
        ours = [x.to(kind).requires_grad_() for x in (exact if with_bias else exact[:2])]
        bias = ours[2] if with_bias else None
        found = distillation_loss(ours[0], ours[1], bias, gold, ids, target.to(kind), choice, 7.0)
        torch.testing.assert_close(found.total.double(), expected, rtol=tolerance, atol=1e-6)
        gradients = torch.autograd.grad(found.total, ours), torch.autograd.grad(expected, leaves, retain_graph=True)
        for mine, theirs in zip(*gradients, strict=True):
            assert (mine.double() - theirs).abs().max() / theirs.abs().max() < tolerance


def test_terms_add_up_to_the_total() -> None:
    torch.manual_seed(0)
    choice = LossSettings(0.3)
    logprobs = torch.log_softmax(torch.randn(R, K), dim=1) - 0.5
    found = distillation_loss(
        torch.randn(R, D), torch.randn(V, D), None, torch.arange(R), torch.arange(R * K).view(R, K) % V,
        teacher_target(logprobs, choice), choice, 1.0,
    )  # fmt: skip
    assert found.total.item() == pytest.approx(0.3 * found.kd.item() + 0.7 * found.mlm.item(), rel=1e-6)


def test_ghost_with_everything_stored_is_plain_distillation() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(R, D), torch.randn(V, D)
    logprobs = torch.log_softmax(torch.randn(R, V), dim=1)
    ids = torch.arange(V).expand(R, V)
    values = [
        distillation_loss(
            hidden, weight, None, torch.zeros(R, dtype=torch.long), ids, teacher_target(logprobs, c), c, 1.0
        ).kd
        for c in (LossSettings(1.0, tail="ghost"), LossSettings(1.0, tail="renormalise"))
    ]
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)
