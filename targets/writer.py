"""Write one shard: whole or not at all, with checksums, and with a manifest row that makes it count as done."""

from __future__ import annotations

import hashlib
import io

import pyarrow.parquet as pq

from recipe import Workdir, shard_name
from targets.codec import to_table
from targets.manifest import ShardRow, row_path
from targets.rows import TargetRows
from targets.schema import ROW_GROUP_ROWS, ShardInfo

_DICTIONARY = ["copy", "input_ids", "positions", "labels", "counts", "ids", "gold_logprob", "logprobs", "draws"]


def encode_shard(rows: TargetRows, info: ShardInfo) -> bytes:
    """The bytes of a shard's Parquet file. The same rows and information give the same bytes."""
    table = to_table(rows).replace_schema_metadata(info.metadata())
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        compression_level=6,
        use_dictionary=[f"{name}.list.element" if name != "copy" else name for name in _DICTIONARY],
        dictionary_pagesize_limit=4 << 20,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def write_shard(workdir: Workdir, folder: str, rows: TargetRows, info: ShardInfo) -> ShardRow:
    """Write `folder/part-…` and then its manifest row; a shard without a row is not done and is made again."""
    content = encode_shard(rows, info)
    name = shard_name(info.shard, info.shards)
    row = ShardRow(
        name=name,
        fingerprint=info.fingerprint,
        rows=len(rows),
        tokens=int(rows.input_offsets[-1]),
        positions=int(rows.position_offsets[-1]),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    workdir.write_bytes(f"{folder}/{name}", content)
    workdir.write_json(row_path(folder, name), row._asdict())
    return row
