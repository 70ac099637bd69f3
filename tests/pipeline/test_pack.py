import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pack import SHORTEST, Packer
from pipeline.sequences import Sequences

PACKER = Packer((2,), (3,), 10, np.arange(100) % 2 == 0)
DOCUMENTS = st.lists(st.lists(st.integers(5, 99), max_size=40), max_size=12)


def windows(packed: Sequences) -> list[list[int]]:
    return [part.tolist() for part in np.split(packed.input_ids, packed.offsets[1:-1])] if len(packed) else []


def numbered(texts: list[list[int]]) -> np.ndarray:  # type: ignore[type-arg]
    return np.arange(len(texts), dtype=np.uint64)


@given(DOCUMENTS)
def test_windows_across_documents_lose_nothing_but_the_end(texts: list[list[int]]) -> None:
    found = windows(PACKER.pack_across(numbered(texts), texts))
    inside = [token for window in found for token in window[1:-1]]
    whole = [token for text in texts for token in (*text, 3)]
    assert inside == whole[: len(inside)]
    assert len(whole) - len(inside) < SHORTEST
    assert all(len(window) == 10 for window in found[:-1])
    assert all((window[0], window[-1]) == (2, 3) for window in found)


@given(DOCUMENTS)
def test_windows_across_documents_are_named_by_where_they_begin(texts: list[list[int]]) -> None:
    packed = PACKER.pack_across(numbered(texts), texts)
    assert len(np.unique(packed.sequence_id)) == len(packed)
    owner = [document for document, text in enumerate(texts) for _ in (*text, 3)]
    assert packed.document.tolist() == owner[:: PACKER.room][: len(packed)]


@given(DOCUMENTS)
def test_windows_of_a_document_hold_its_tokens_in_order(texts: list[list[int]]) -> None:
    packed = PACKER.pack(numbered(texts), texts)
    found = windows(packed)
    assert len(np.unique(packed.sequence_id)) == len(packed)
    assert packed.document.tolist() == sorted(packed.document.tolist())
    for document, text in enumerate(texts):
        own = [found[row] for row in np.flatnonzero(packed.document == document)]
        inside = [token for window in own for token in window[1:-1]]
        assert inside == text[: len(inside)]
        assert len(text) - len(inside) < SHORTEST
        assert all((window[0], window[-1]) == (2, 3) and len(window) <= 10 for window in own)
        # A cut is at a word start, if one is in the last quarter of the window.
        for window, after in itertools.pairwise(own):
            assert len(window) == 10 or after[1] % 2 == 0
