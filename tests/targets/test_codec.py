import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from targets.codec import from_table, round_down, to_table
from targets.ragged import gather, lengths_to_offsets
from targets.rows import TargetRows, concatenate
from targets.schema import LOGPROB_STEP


def make_rows(seed: int = 0, rows: int = 5, k: int = 4, vocabulary: int = 1000, drawn: bool = False) -> TargetRows:
    """Random but sound targets."""
    random = np.random.default_rng(seed)
    lengths = random.integers(4, 20, rows)
    masked = np.minimum(random.integers(1, 5, rows), lengths)
    positions = [np.sort(random.choice(n, m, replace=False)) for n, m in zip(lengths, masked, strict=True)]
    total = int(masked.sum())
    probabilities = random.dirichlet(np.ones(k + 1), total)[:, :k]
    return TargetRows(
        sequence_id=random.integers(0, 2**63, rows).astype(np.uint64),
        document=random.integers(0, 2**63, rows).astype(np.uint64),
        copy=np.zeros(rows, np.uint8),
        input_ids=random.integers(0, vocabulary, lengths.sum()).astype(np.int32),
        input_offsets=lengths_to_offsets(lengths),
        positions=np.concatenate([*positions, np.empty(0, np.int64)]).astype(np.uint16),
        labels=random.integers(0, vocabulary, total).astype(np.int32),
        gold_logprob=np.log(random.uniform(0.01, 1, total)).astype(np.float32),
        position_offsets=lengths_to_offsets(masked),
        ids=np.array([random.choice(vocabulary, k, replace=False) for _ in range(total)], np.int32).ravel(),
        logprobs=np.log(-np.sort(-probabilities, axis=1)).astype(np.float32).ravel(),
        id_offsets=np.arange(total + 1, dtype=np.int64) * k,
        draws=random.integers(1, 5, total * k).astype(np.uint16) if drawn else np.empty(0, np.uint16),
    )


def assert_same(left: TargetRows, right: TargetRows) -> None:
    for name in TargetRows.__dataclass_fields__:
        expected = getattr(left, name)
        if name in ("gold_logprob", "logprobs"):
            expected = round_down(expected)
        np.testing.assert_array_equal(expected, getattr(right, name), name)


@given(st.integers(0, 1000), st.integers(0, 7))
def test_rows_survive_the_table(seed: int, rows: int) -> None:
    original = make_rows(seed, rows)
    assert_same(original, from_table(to_table(original), "memory"))


@given(st.floats(-60, 0, width=32))
def test_logprobs_are_rounded_down_by_at_most_a_step(value: float) -> None:
    rounded = float(round_down(np.array([value], np.float32))[0])
    assert value - LOGPROB_STEP <= rounded <= value


@given(st.lists(st.integers(0, 6), min_size=1), st.data())
def test_gather_is_indexing_row_by_row(lengths: list[int], data: st.DataObject) -> None:
    flat = np.arange(sum(lengths))
    offsets = lengths_to_offsets(lengths)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1))), np.int64)
    index, new = gather(offsets, rows)
    expected = [flat[offsets[row] : offsets[row + 1]].tolist() for row in rows]
    assert [flat[index][new[i] : new[i + 1]].tolist() for i in range(len(rows))] == expected


def test_concatenated_parts_are_the_whole() -> None:
    whole = make_rows(rows=6)
    parts = [whole.take(np.arange(0, 2)), whole.take(np.arange(2, 2)), whole.take(np.arange(2, 6))]
    again = concatenate(parts)
    for name in TargetRows.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))
