import numpy as np
import pytest
import torch

from pipeline.mask import MaskRule
from pipeline.sparse import drawn_targets, sparse_targets
from recipe.schema import Masking


def test_logprobs_are_of_the_whole_distribution_even_where_ids_are_dropped() -> None:
    logits = 3 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    expected = torch.log_softmax(logits.double(), dim=1)
    dropped = logits.argmax(1).unique()
    gold = torch.tensor([7, 8, 9, 10])
    ids, logprobs, gold_logprob = sparse_targets(logits.clone(), gold, dropped, 8)
    assert not torch.isin(ids, dropped).any()
    torch.testing.assert_close(logprobs.double(), expected.gather(1, ids), rtol=0, atol=1e-5)
    torch.testing.assert_close(gold_logprob.double(), expected.gather(1, gold[:, None])[:, 0], rtol=0, atol=1e-5)


def drawn(encoding: str, draws: int, sequences: int, logits: torch.Tensor, dropped: list[int]) -> list[torch.Tensor]:
    """What is drawn at one position of so many sequences that all have the same distribution."""
    rule = MaskRule(Masking(), 0, 4, np.ones(len(logits), bool), np.ones(len(logits), bool))
    points = np.concatenate([rule.points(np.array([5]), 9, n, 0, encoding, draws) for n in range(sequences)])
    rows = logits.expand(sequences, -1).clone()
    gold = torch.zeros(sequences, dtype=torch.long)
    return list(drawn_targets(rows, gold, torch.tensor(dropped, dtype=torch.long), torch.from_numpy(points)))


@pytest.mark.parametrize("encoding", ["sampled", "systematic"])
def test_the_mean_of_many_draws_is_the_whole_distribution(encoding: str) -> None:
    logits = torch.randn(300, generator=torch.Generator().manual_seed(0)) * 3
    ids, logprobs, draws, gold = drawn(encoding, 20, 4000, logits, [])
    true = logits.log_softmax(0)
    mean = torch.zeros(300).index_add_(0, ids.flatten(), draws.flatten().float() / (20 * 4000))
    # A share has a standard error of at most sqrt(p/(20·4000)), and there are 300 of them.
    assert ((mean - true.exp()).abs() < 5 * (true.exp() / 80_000).sqrt() + 1e-5).all()
    assert (draws.sum(1) == 20).all()
    stored = draws > 0
    torch.testing.assert_close(logprobs[stored], true[ids[stored]], atol=1e-5, rtol=1e-5)
    assert (gold - true[0]).abs().max() < 1e-5
    # Ids of a position are different ones, the most likely first.
    assert all(len(set(row[kept].tolist())) == kept.sum() for row, kept in zip(ids, stored, strict=True))
    assert (logprobs[:, :-1] >= logprobs[:, 1:])[stored[:, 1:]].all()


def test_systematic_draws_vary_less_than_independent_ones() -> None:
    logits = torch.randn(300, generator=torch.Generator().manual_seed(1)) * 3
    error = {}
    for encoding in ("sampled", "systematic"):
        ids, _, draws, _ = drawn(encoding, 20, 500, logits, [])
        shares = torch.zeros(500, 300).scatter_add_(1, ids, draws.float() / 20)
        error[encoding] = float(((shares - logits.softmax(0)) ** 2).sum(1).mean())
    assert error["systematic"] < 0.7 * error["sampled"]


def test_draws_of_a_dropped_token_are_missing_and_nothing_else_changes() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(2)) * 2
    best = int(logits.argmax())
    ids, _, draws, _ = drawn("systematic", 16, 300, logits, [best])
    assert not ((ids == best) & (draws > 0)).any()
    missing = 1 - draws.sum() / (16 * 300)
    assert float(missing) == pytest.approx(float(logits.softmax(0)[best]), abs=0.02)
    whole = drawn("systematic", 16, 300, logits, [])
    for token in range(50):
        if token != best:
            assert (draws * (ids == token)).sum() == (whole[2] * (whole[0] == token)).sum()


@pytest.mark.parametrize("encoding", ["sampled", "systematic"])
def test_draws_are_a_function_of_seed_sequence_copy_and_position(encoding: str) -> None:
    rule = MaskRule(Masking(), 0, 4, np.ones(9, bool), np.ones(9, bool))
    everywhere = rule.points(np.arange(9), 9, 7, 1, encoding, 5)
    assert np.array_equal(rule.points(np.array([2, 6]), 9, 7, 1, encoding, 5), everywhere[[2, 6]])
    assert ((everywhere >= 0) & (everywhere < 1)).all()
    assert (np.diff(everywhere) >= 0).all()
    others = [rule.points(np.arange(9), 9, n, copy, encoding, 5) for n, copy in ((7, 0), (8, 1))]
    assert len(np.unique(np.concatenate([everywhere, *others])[:, 0])) == 27
