import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean import clean, clean_all
from pipeline.corpus import Extent, find_files, split_extents
from pipeline.records import Record, read_records, read_texts
from recipe import CorpusError
from recipe.schema import Sequences

LINES = ["eins", "zwei drei", "", "ñandú काम", "last without newline"]
TEXT = "\n".join(LINES).encode()
KEPT = [line for line in LINES if line]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def read(path: Path, **settings: object) -> list[Record]:
    chosen = Sequences(**settings)  # type: ignore[arg-type]
    return [
        record
        for file in find_files((str(path),))
        for extent in split_extents(file, whole=False)
        for record in read_records(extent, chosen)
    ]


def texts(path: Path, **settings: object) -> list[str | None]:
    return [record.text for record in read(path, **settings)]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_compression_gives_the_same_documents(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXT[:20]) + COMPRESS[suffix](TEXT[20:]))
    assert texts(path) == KEPT


@pytest.mark.parametrize("suffix", [suffix for suffix in COMPRESS if suffix])
@pytest.mark.parametrize(
    "damage", [lambda b: b[:-7], lambda b: b[:20] + bytes(10) + b[30:], lambda b: b"not compressed"]
)
def test_a_damaged_file_is_named(suffix: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(damage(COMPRESS[suffix](TEXT * 20)))
    with pytest.raises(CorpusError, match=r"a\.txt.*(damaged|truncated)"):
        texts(path)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12)), st.integers(1, 40))
def test_byte_ranges_share_out_the_lines(lines: list[str], step: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_bytes("\n".join(lines).encode() + b".")
        file = find_files((str(path),))[0]
        ranges = [Extent(file, at, min(at + step, file.size)) for at in range(0, file.size, step)]
        found = [record for extent in ranges for record in read_records(extent, Sequences())]
        whole = list(read_records(Extent(file), Sequences()))
    assert found == whole


def test_lines_that_cannot_be_used_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good one\n\xff\xfe bad\n" + b"x" * 5000 + b"\nlast\n")
    found = read(path, max_chars=100)
    assert [record.text for record in found] == ["good one", None, None, "last"]
    assert "UTF-8" in found[1].reason
    assert "max_chars" in found[2].reason


def test_json_lines_by_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"body": "hello"}) + '\n{"other": 1}\n{broken\n[1]\n')
    found = read(path, text_field="body")
    assert [record.text for record in found] == ["hello", None, None, None]
    assert all("body" in record.reason for record in (found[1], found[3]))


def test_parquet_by_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c", "d"]}), path, row_group_size=2)
    assert texts(path) == ["a", None, "c", "d"]
    with pytest.raises(CorpusError, match="it has: text"):
        texts(path, text_field="content")


def test_blank_lines_separate_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n\nthree\n")
    assert texts(path, documents="blank-line") == ["one\ntwo", "three"]


def test_what_is_not_there_or_not_a_corpus_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "a.pdf").write_text("x")
    for given_, problem in (
        ("missing.txt", "no such file"),
        ("*.csv", "no file matches"),
        ("empty", "holds no corpus file"),
        ("empty.txt", "is empty"),
        ("a.pdf", "unknown kind"),
    ):
        with pytest.raises(CorpusError, match=problem):
            find_files((str(tmp_path / given_),))


@given(
    st.lists(st.sampled_from(["ein", "zwei drei", "", " ", "ñandú", "x" * 90, "y" * 400, "\r"]), max_size=40),
    st.lists(st.integers(1, 900), max_size=4),
    st.booleans(),
)
def test_reading_by_the_block_gives_the_records_of_reading_by_the_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cuts: list[int], broken: bool
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    content = "\n".join(lines).encode() + (b"\n\xff\xfe\nlast" if broken else b"")
    path.write_bytes(content or b"\n")
    settings = Sequences(max_chars=80)
    (file,) = find_files((str(path),))
    size = path.stat().st_size
    bounds = sorted({0, size, *(cut for cut in cuts if cut < size)})
    extents = [Extent(file, a, b) for a, b in pairwise(bounds)]
    by_line = [record for extent in extents for record in read_records(extent, settings)]
    batches = [batch for extent in extents for batch in read_texts(extent, settings)]
    assert sum(read for read, _, _ in batches) == len(by_line)
    texts = [text for _, texts, _ in batches for text in texts]
    assert [t.rstrip("\r") for t in texts] == [
        record.text.rstrip("\r") for record in by_line if record.text is not None
    ]
    assert [r.at for _, _, bad in batches for r in bad] == [r.at for r in by_line if r.text is None]


def test_cleaning_all_at_once_is_cleaning_each() -> None:
    texts = [" e\u0301 ", "\u0301x", "a\tb\x00", "\ufeff", "", "\u2028y\r", "क\u093c"]
    assert clean_all(texts) == [clean(text) for text in texts]
    assert clean_all([*texts, "two\nlines"]) == [*map(clean, texts), "two lines"]
    assert clean_all([]) == []
