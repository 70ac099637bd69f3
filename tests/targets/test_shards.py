from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipe import TargetsError, Workdir
from targets import Manifest, ShardInfo, read_manifest, read_rows, read_shard, write_shard
from targets.manifest import finished_rows
from targets.schema import ROW_GROUP_ROWS, VERSION_KEY
from targets.verify import first_problem, verify_shard
from tests.targets.test_codec import assert_same, make_rows

FOLDER = "targets/t/hi"
INFO = ShardInfo("t", "hi", 0, 1, 1000, "top-k", 4, "f" * 64, {"vocabulary": "v"})


@pytest.mark.parametrize("url", ["memory://shards-test", "{tmp}"])
def test_a_shard_reads_back_from_any_filesystem(url: str, tmp_path: Path) -> None:
    workdir = Workdir(url.format(tmp=tmp_path))
    rows = make_rows(rows=2 * ROW_GROUP_ROWS + 3)
    row = write_shard(workdir, FOLDER, rows, INFO)
    assert_same(rows, read_shard(workdir, f"{FOLDER}/{row.name}"))
    last = read_rows(workdir, f"{FOLDER}/{row.name}", 2)
    assert_same(rows.take(np.arange(2 * ROW_GROUP_ROWS, 2 * ROW_GROUP_ROWS + 3)), last)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_shard(Workdir(str(tmp_path / "a")), FOLDER, make_rows(), INFO)
    second = write_shard(Workdir(str(tmp_path / "b")), FOLDER, make_rows(), INFO)
    assert first == second


def test_polars_reads_a_shard_as_documented(tmp_path: Path) -> None:
    rows = make_rows()
    row = write_shard(Workdir(str(tmp_path)), FOLDER, rows, INFO)
    frame = pl.read_parquet(tmp_path / FOLDER / row.name)
    assert frame["ids"].explode().to_list() == rows.ids.tolist()
    assert frame["counts"].list.sum().to_list() == frame["ids"].list.len().to_list()


def test_a_shard_counts_as_done_only_with_its_row_its_size_and_its_fingerprint(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    name = write_shard(workdir, FOLDER, make_rows(), INFO).name
    assert set(finished_rows(workdir, FOLDER, INFO.fingerprint, [name])) == {name}
    assert not finished_rows(workdir, FOLDER, "other", [name])
    (tmp_path / FOLDER / name).write_bytes(b"short")
    assert not finished_rows(workdir, FOLDER, INFO.fingerprint, [name])


def _manifest(workdir: Workdir) -> Manifest:
    row = write_shard(workdir, FOLDER, make_rows(), INFO)
    manifest = Manifest("t", "hi", INFO.fingerprint, INFO.fingerprints, 1000, "top-k", 4, 1, (row,))
    manifest.write(workdir, FOLDER)
    assert read_manifest(workdir, FOLDER) == manifest
    return manifest


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    manifest = _manifest(workdir)
    row = manifest.shards[0]
    verify_shard(workdir, FOLDER, row, manifest)
    path = tmp_path / FOLDER / row.name
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(TargetsError, match=row.name):
            verify_shard(workdir, FOLDER, row, manifest)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: int) -> None:
    workdir = Workdir(str(tmp_path))
    name = write_shard(workdir, FOLDER, make_rows(), INFO).name
    path = tmp_path / FOLDER / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TargetsError, match=name):
        read_shard(workdir, f"{FOLDER}/{name}")


def test_files_of_an_earlier_and_a_later_minor_version_are_read(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    name = write_shard(workdir, FOLDER, make_rows(), INFO).name
    table = pq.read_table(tmp_path / FOLDER / name)
    earlier = table.drop_columns(["draws"])
    later = table.append_column(pa.field("new", pa.int8()), [pa.array([1] * len(table), pa.int8())])
    for minor, other in ((b"1.0", earlier), (b"1.9", later)):
        metadata = {**table.schema.metadata, VERSION_KEY: minor}
        pq.write_table(other.replace_schema_metadata(metadata), tmp_path / "other.parquet")
        assert_same(make_rows(), read_shard(workdir, "other.parquet"))
        assert_same(make_rows(), read_rows(workdir, "other.parquet", 0))


def test_drawn_targets_survive_and_too_many_draws_are_found(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    rows = make_rows(drawn=True)
    name = write_shard(workdir, FOLDER, rows, INFO).name
    assert_same(rows, read_shard(workdir, f"{FOLDER}/{name}"))
    assert_same(rows.take(np.array([3, 1])), read_shard(workdir, f"{FOLDER}/{name}").take(np.array([3, 1])))
    assert first_problem(rows, 1000, 16) is None
    assert "more than 3" in str(first_problem(rows, 1000, 3))


def test_a_foreign_file_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(TargetsError, match="not a MergeDistill target shard"):
        read_shard(workdir, "foreign.parquet")
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({VERSION_KEY: b"2.0"}), tmp_path / "newer.parquet")
    with pytest.raises(TargetsError, match=r"format 2\.0"):
        read_shard(workdir, "newer.parquet")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("ids", 1000, "outside the vocabulary"),
        ("labels", -1, "outside the vocabulary"),
        ("logprobs", np.nan, "no log-probability"),
        ("logprobs", 0.5, "no log-probability"),
        ("logprobs", 0.0, "sum to"),
        ("positions", 200, "beyond the end"),
    ],
)
def test_impossible_values_are_found(field: str, value: float, problem: str) -> None:
    rows = make_rows()
    assert first_problem(rows, 1000) is None
    changed = getattr(rows, field).copy()
    changed[0] = value
    found = first_problem(replace(rows, **{field: changed}), 1000)
    assert found is not None
    assert problem in found
