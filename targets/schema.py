"""The Parquet schema of a target shard, its version, and the metadata that every file carries.

A reader of version a.b reads every a.x; another major version is refused. `docs/targets.md` says the same
in prose for readers in other languages.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from recipe import TargetsError

MAJOR, MINOR = 1, 1
VERSION_KEY = b"mergedistill.targets.version"
INFO_KEY = b"mergedistill.targets.info"
ROW_GROUP_ROWS = 1024
LOGPROB_STEP = 2.0**-10

SCHEMA = pa.schema(
    [
        pa.field("sequence_id", pa.uint64(), nullable=False),
        pa.field("document", pa.uint64(), nullable=False),
        pa.field("copy", pa.uint8(), nullable=False),
        pa.field("input_ids", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
        pa.field("positions", pa.list_(pa.field("element", pa.uint16(), nullable=False)), nullable=False),
        pa.field("labels", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
        pa.field("gold_logprob", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
        pa.field("counts", pa.list_(pa.field("element", pa.uint16(), nullable=False)), nullable=False),
        pa.field("ids", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
        pa.field("logprobs", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
        pa.field("draws", pa.list_(pa.field("element", pa.uint16(), nullable=False)), nullable=False),
    ]
)
# Columns that came with a later minor version, so an earlier file may lack them.
LATER = ("draws",)


@dataclass(frozen=True)
class ShardInfo:
    """What a shard says of itself: where it belongs and everything that determined its bytes.

    `fingerprints` has one sha256 each for vocabulary (this teacher's remap), teacher (configuration and
    weights), sequences, masking and encoding; `fingerprint` is the one over all of them. k: ids kept at a position,
    or draws.
    """

    teacher: str
    language: str
    shard: int
    shards: int
    vocabulary_size: int
    encoding: str
    k: int
    fingerprint: str
    fingerprints: dict[str, str]

    def metadata(self) -> dict[bytes, bytes]:
        return {VERSION_KEY: f"{MAJOR}.{MINOR}".encode(), INFO_KEY: json.dumps(asdict(self), sort_keys=True).encode()}


def parse_metadata(metadata: dict[bytes, bytes] | None, path: str) -> ShardInfo:
    """The ShardInfo in a Parquet file's metadata. Raises TargetsError for a foreign file or another major version."""
    version = (metadata or {}).get(VERSION_KEY, b"").decode("ascii", "replace")
    if not version:
        raise TargetsError(f"{path}: is not a MergeDistill target shard; remove it from the folder")
    major = version.partition(".")[0]
    if major != str(MAJOR):
        raise TargetsError(
            f"{path}: has target format {version}, this is {MAJOR}.{MINOR}: "
            f"read it with a MergeDistill of format {major}, or teach it again"
        )
    try:
        document: dict[str, Any] = json.loads((metadata or {})[INFO_KEY])
        return ShardInfo(**{name: document[name] for name in ShardInfo.__dataclass_fields__})
    except (KeyError, ValueError, TypeError) as error:
        raise TargetsError(
            f"{path}: metadata field {INFO_KEY.decode()} is damaged ({error!r}); teach it again"
        ) from None
