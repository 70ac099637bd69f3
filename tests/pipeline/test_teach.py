import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.teach import batches


@given(st.lists(st.integers(1, 512), max_size=300), st.integers(1, 4096))
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    found = list(batches(array, budget))
    assert sorted(np.concatenate([*found, np.empty(0, np.int64)]).tolist()) == list(range(len(lengths)))
    assert all(len(rows) == 1 or array[rows].max() * len(rows) <= budget for rows in found)


def test_padding_stays_small_whatever_the_lengths() -> None:
    lengths = np.random.default_rng(0).lognormal(3.4, 0.8, 500).clip(4, 512).astype(np.int64)
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches(lengths, 16_384))
    assert padded < 1.25 * lengths.sum()
