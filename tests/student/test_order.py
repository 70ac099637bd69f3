import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe import Source
from student.order import RowGroup, generator, round_range, shares, stretches, token_budget_batches


def groups_of(sizes: list[int]) -> tuple[RowGroup, ...]:
    return tuple(RowGroup(f"shard-{number}", number, size) for number, size in enumerate(sizes))


def samples(groups: tuple[RowGroup, ...], start: int, stop: int, seed: int = 3) -> list[tuple[str, int]]:
    """(shard, row) of every sample, in order."""
    found = []
    for pack, rows in stretches(groups, start, stop, seed, 0):
        flat = [(group.shard, row) for group in pack for row in range(group.rows)]
        found += [flat[row] for row in rows]
    return found


@given(st.lists(st.integers(1, 9), min_size=1, max_size=25), st.data())
def test_an_epoch_has_every_row_once_wherever_it_is_cut(sizes: list[int], data: st.DataObject) -> None:
    groups, total = groups_of(sizes), sum(sizes)
    cut = data.draw(st.integers(0, total))
    seen = samples(groups, 0, cut) + samples(groups, cut, total)
    assert sorted(seen) == sorted((g.shard, row) for g in groups for row in range(g.rows))
    assert seen == samples(groups, 0, total)


def test_epochs_differ_in_order() -> None:
    groups = groups_of([50] * 20)
    assert samples(groups, 0, 1000) != samples(groups, 1000, 2000)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.floats(0, 1))
def test_shares_sum_to_one(counts: list[int], alpha: float) -> None:
    rows = {Source("t", f"l{i}"): count for i, count in enumerate(counts)}
    assert sum(shares(rows, alpha).values()) == pytest.approx(1.0)


def test_languages_are_drawn_by_alpha_and_sources_of_one_by_rows() -> None:
    rows = {Source("a", "hi"): 100, Source("b", "hi"): 300, Source("c", "fi"): 100}
    found = shares(rows, 0.5)
    hindi = found[Source("a", "hi")] + found[Source("b", "hi")]
    assert hindi / found[Source("c", "fi")] == pytest.approx(2.0)
    assert found[Source("b", "hi")] / found[Source("a", "hi")] == pytest.approx(3.0)


@given(st.floats(0.001, 1), st.integers(1, 5000), st.integers(0, 1000))
def test_rounds_leave_no_gap(share: float, window: int, number: int) -> None:
    assert round_range(share, window, number)[1] == round_range(share, window, number + 1)[0]


@given(st.lists(st.integers(1, 128), min_size=1, max_size=200), st.integers(1, 1000))
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    batches = token_budget_batches(array, budget, generator(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or array[batch].max() * len(batch) <= budget for batch in batches)
