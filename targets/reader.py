"""Read shards: whole row groups into flat arrays, every problem named with its file and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from recipe import TargetsError, Workdir
from targets.codec import from_table
from targets.rows import TargetRows, concatenate
from targets.schema import LATER, SCHEMA, ShardInfo, parse_metadata


@contextmanager
def open_shard(workdir: Workdir, path: str) -> Iterator[tuple[pq.ParquetFile, ShardInfo]]:
    """A shard's open Parquet file and what it says of itself. Raises TargetsError for what cannot be used."""
    where = workdir.path(path)
    try:
        with workdir.fs.open(where, "rb") as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            info = parse_metadata(file.schema_arrow.metadata, where)
            # Columns of a later minor version are left alone.
            there = file.schema_arrow
            missing = [f.name for f in SCHEMA if f not in there and not (f.name in LATER and f.name not in there.names)]
            if missing:
                raise TargetsError(
                    f"{where}: wrong type or missing: {', '.join(missing)}; delete it and teach it again"
                )
            yield file, info
    except FileNotFoundError:
        raise TargetsError(f"{where}: is missing; run `python -m pipeline teach` again") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())[:200]
        raise TargetsError(f"{where}: is truncated or damaged ({cause}); delete it and teach it again") from None


def read_shard(workdir: Workdir, path: str) -> TargetRows:
    """All rows of one shard."""
    with open_shard(workdir, path) as (file, _):
        return from_table(file.read(columns=_known(file)), workdir.path(path))


def read_rows(workdir: Workdir, path: str, row_group: int) -> TargetRows:
    """The rows of one row group, numbered from 0."""
    with open_shard(workdir, path) as (file, _):
        return from_table(file.read_row_group(row_group, columns=_known(file)), workdir.path(path))


def _known(file: pq.ParquetFile) -> list[str]:
    return [field.name for field in SCHEMA if field.name in file.schema_arrow.names]


def read_folder(workdir: Workdir, folder: str, names: list[str]) -> TargetRows:
    """The named shards of a folder as one."""
    return concatenate([read_shard(workdir, f"{folder}/{name}") for name in names])
