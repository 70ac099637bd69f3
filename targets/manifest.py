"""The manifest of a folder of shards: which are done, how many rows each has, and what determined them.

A worker leaves one small row file (`manifest/part-….json`) beside each shard; the launching process folds
the rows into `manifest.json`. So no result travels through the Beam graph, and any runner will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from recipe import TargetsError, Workdir
from targets.schema import MAJOR, MINOR


class ShardRow(NamedTuple):
    """One finished shard."""

    name: str
    fingerprint: str
    rows: int
    tokens: int
    positions: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The finished shards of one folder. `total` is how many there will be when all are done."""

    teacher: str
    language: str
    fingerprint: str
    fingerprints: dict[str, str]
    vocabulary_size: int
    encoding: str
    k: int
    total: int
    shards: tuple[ShardRow, ...]

    @property
    def complete(self) -> bool:
        return len(self.shards) == self.total

    def write(self, workdir: Workdir, folder: str) -> None:
        document = asdict(self)
        document["shards"] = [row._asdict() for row in self.shards]
        workdir.write_json(f"{folder}/manifest.json", {"version": f"{MAJOR}.{MINOR}", **document})


def row_path(folder: str, name: str) -> str:
    """Where a shard's row file lies."""
    return f"{folder}/manifest/{name.removesuffix('.parquet')}.json"


def read_manifest(workdir: Workdir, folder: str) -> Manifest | None:
    """The manifest of a folder of shards, or None where there is none."""
    document = workdir.read_json(f"{folder}/manifest.json")
    if document is None:
        return None
    try:
        fields: dict[str, Any] = {name: document[name] for name in Manifest.__dataclass_fields__}
        return Manifest(**{**fields, "shards": tuple(ShardRow(**row) for row in fields["shards"])})
    except (KeyError, TypeError) as error:
        raise TargetsError(
            f"{workdir.path(folder)}/manifest.json: is damaged or of another version ({error!r}); "
            "delete it and run `python -m pipeline teach` again: finished shards are kept"
        ) from None


def finished_rows(workdir: Workdir, folder: str, fingerprint: str, names: Iterable[str]) -> dict[str, ShardRow]:
    """The rows of the shards that exist with the recorded size and were made from `fingerprint`, by name.

    Rows already in the manifest cost nothing to read, so looking at 10,000 finished shards is two listings.
    """
    sizes = workdir.sizes(folder)
    manifest = read_manifest(workdir, folder)
    known = {row.name: row for row in manifest.shards} if manifest else {}
    unknown = [name for name in names if name in sizes and name not in known]
    with ThreadPoolExecutor(16) as pool:
        for name, document in zip(
            unknown, pool.map(lambda n: workdir.read_json(row_path(folder, n)), unknown), strict=True
        ):
            if document is not None:
                known[name] = ShardRow(**document)
    return {
        name: known[name]
        for name in names
        if name in known and known[name].fingerprint == fingerprint and sizes.get(name) == known[name].bytes
    }
