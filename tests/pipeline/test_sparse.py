import torch

from pipeline.sparse import sparse_targets


def test_logprobs_are_of_the_whole_distribution_even_where_ids_are_dropped() -> None:
    logits = 3 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    expected = torch.log_softmax(logits.double(), dim=1)
    dropped = logits.argmax(1).unique()
    gold = torch.tensor([7, 8, 9, 10])
    ids, logprobs, gold_logprob = sparse_targets(logits.clone(), gold, dropped, 8)
    assert not torch.isin(ids, dropped).any()
    torch.testing.assert_close(logprobs.double(), expected.gather(1, ids), rtol=0, atol=1e-5)
    torch.testing.assert_close(gold_logprob.double(), expected.gather(1, gold[:, None])[:, 0], rtol=0, atol=1e-5)
