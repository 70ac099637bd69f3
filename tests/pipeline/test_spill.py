from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import spill
from pipeline.spill import ChunkWriter, Pieces, read_stretch
from recipe import MergeDistillError


def pieces(keys: list[int], first: int = 0) -> Pieces:
    numbers = range(first, first + len(keys))
    ids = np.array(numbers, np.uint64)
    return Pieces(np.array(keys, np.uint64), ids, (ids % 3).astype(np.uint32), [f"text {n}" for n in numbers])


def by_key(pieces: Pieces) -> list[tuple[str, Any, Any]]:
    return [("text", np.arange(len(pieces.key)), pieces.key)]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.lists(st.integers(0, 2**32), max_size=4))
def test_stretches_hold_every_piece_once(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    writer = ChunkWriter(folder, "0", by_key)
    for at in range(0, len(keys), 7):
        writer.add(pieces(keys[at : at + 7], at))
        if at % 3 == 2:
            writer.close()
    writer.close()
    bounds = [0, *sorted(cuts), 1 << 32]
    found = Pieces.concatenate(read_stretch(sorted(folder.iterdir()), low, high) for low, high in pairwise(bounds))
    order = np.argsort(found.document)
    assert found.document[order].tolist() == list(range(len(keys)))
    assert found.take(order).text.to_pylist() == [f"text {number}" for number in range(len(keys))]
    assert found.position[order].tolist() == [number % 3 for number in range(len(keys))]
    assert found.key[order].tolist() == [key & 0xFFFFFFFF for key in keys]


def test_a_large_extent_becomes_several_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_CHUNK_BYTES", 100)
    writer = ChunkWriter(tmp_path, "0", by_key)
    for number in range(10):
        writer.add(pieces([number] * 20, 20 * number))
    writer.close()
    assert len(writer.written) == len(list(tmp_path.iterdir())) == 10


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    (tmp_path / "text-0.arrow").write_bytes(b"ARROW1\0\0 and no more")
    with pytest.raises(MergeDistillError, match=r"text-0\.arrow: is damaged"):
        read_stretch([tmp_path / "text-0.arrow"], 0, 1 << 32)
