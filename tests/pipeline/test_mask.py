import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mask import MaskRule
from recipe.schema import Masking

V, MASK, FIRST = 500, 4, 5


def rule(seed: int = 0, **settings: object) -> MaskRule:
    maskable = np.arange(V) >= FIRST
    return MaskRule(Masking(**settings), seed, MASK, maskable, np.arange(V) % 3 == 0)  # type: ignore[arg-type]


def sequence(seed: int, length: int) -> np.ndarray:  # type: ignore[type-arg]
    ids = np.random.default_rng(seed).integers(FIRST, V, length).astype(np.int32)
    ids[0], ids[-1] = 2, 3
    return ids


@given(st.integers(0, 99), st.integers(3, 200), st.integers(0, 2**64 - 1), st.integers(0, 255), st.booleans())
def test_masks_are_a_function_of_seed_sequence_and_copy(
    seed: int, length: int, sequence_id: int, copy: int, whole_word: bool
) -> None:
    ids = sequence(seed, length)
    first = rule(whole_word=whole_word).apply(ids, sequence_id, copy)
    again = rule(whole_word=whole_word).apply(ids, sequence_id, copy)
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    masked, positions = first
    assert (np.diff(positions) > 0).all()
    assert not {0, length - 1} & set(positions.tolist())
    untouched = np.setdiff1d(np.arange(length), positions)
    assert np.array_equal(masked[untouched], ids[untouched])


def test_copies_and_seeds_differ() -> None:
    ids = sequence(0, 100)
    masks = [rule(seed).apply(ids, 1, copy)[1].tolist() for seed in (0, 1) for copy in (0, 1)]
    assert len({tuple(mask) for mask in masks}) == 4


@given(st.integers(3, 300), st.floats(0.01, 0.9))
def test_the_rate_is_met_exactly_and_never_zero(length: int, rate: float) -> None:
    _, positions = rule(rate=rate).apply(sequence(1, length), 7, 0)
    assert len(positions) == max(1, round(rate * (length - 2)))


def test_eighty_ten_ten() -> None:
    ids = sequence(2, 60_000)
    masked, positions = rule(rate=0.5).apply(ids, 7, 0)
    shown, gold = masked[positions], ids[positions]
    assert (shown == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert (shown == gold).mean() == pytest.approx(0.1, abs=0.01)
    random = shown[(shown != MASK) & (shown != gold)]
    assert len(random) / len(shown) == pytest.approx(0.1, abs=0.01)
    assert random.min() >= FIRST
    assert len(np.unique(random)) > 0.9 * (V - FIRST)


def test_mask_only_shows_nothing_but_masks() -> None:
    masked, positions = rule(strategy="mask-only").apply(sequence(3, 100), 7, 0)
    assert (masked[positions] == MASK).all()


@given(st.integers(0, 50), st.integers(3, 200))
def test_whole_words_are_masked_whole(seed: int, length: int) -> None:
    ids = sequence(seed, length)
    _, positions = rule(whole_word=True).apply(ids, seed, 0)
    starts = np.flatnonzero((ids[1:-1] % 3 == 0) | (np.arange(length - 2) == 0)) + 1
    word = np.searchsorted(starts, np.arange(length), side="right")
    chosen = np.isin(word, word[positions])
    chosen[[0, -1]] = False
    assert np.array_equal(np.flatnonzero(chosen), positions)


def test_nothing_maskable_masks_nothing() -> None:
    ids = np.array([2, 3], np.int32)
    masked, positions = rule().apply(ids, 1, 0)
    assert not len(positions)
    assert np.array_equal(masked, ids)


def test_masks_are_golden() -> None:
    """Masks must not change between versions: targets of one run must fit the next."""
    ids = np.arange(5, 45, dtype=np.int32)
    found = [rule().apply(ids, sequence_id, 1)[1].tolist() for sequence_id in (123456789, 2**64 - 2, 2**64 - 1)]
    assert found == [[15, 19, 23, 29, 31, 33], [0, 2, 8, 13, 28, 34], [4, 10, 13, 14, 34, 35]]


@given(st.integers(3, 200), st.integers(2, 12), st.booleans())
def test_with_coverage_each_token_is_masked_exactly_once_over_the_copies(
    length: int, copies: int, whole_word: bool
) -> None:
    ids = sequence(3, length)
    covering = rule(rate=1 / copies, copies=copies, coverage=True, whole_word=whole_word)
    masks = [covering.apply(ids, 7, copy)[1].tolist() for copy in range(copies)]
    assert sorted(position for mask in masks for position in mask) == list(range(1, length - 1))
    if not whole_word:
        assert max(map(len, masks)) - min(map(len, masks)) <= 1


def test_coverage_needs_a_rate_that_fits_the_copies() -> None:
    with pytest.raises(ValueError, match=r"set masking.rate to 0.143, or masking.copies to 3"):
        Masking(rate=0.3, copies=7, coverage=True)
