"""The on-disk format that the two stages share: what a teacher said at every masked position."""

from targets.manifest import Manifest, ShardRow, read_manifest
from targets.reader import read_rows, read_shard
from targets.rows import TargetRows
from targets.schema import ShardInfo
from targets.writer import write_shard

__all__ = ["Manifest", "ShardInfo", "ShardRow", "TargetRows", "read_manifest", "read_rows", "read_shard", "write_shard"]
