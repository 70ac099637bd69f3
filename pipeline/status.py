"""What is on disk: per source, sequences and targets done, their size, and what was set aside."""

from __future__ import annotations

from pipeline.sequences import read_sequence_manifest
from recipe import Recipe, Source, Workdir, shard_name
from targets import read_manifest
from targets.manifest import finished_rows

_HEADER = ("source", "sequence shards", "sequences", "taught shards", "rows", "positions", "MB", "quarantined", "state")


def status_table(recipe: Recipe, workdir: Workdir, sources: tuple[Source, ...]) -> list[tuple[str, ...]]:
    """A header and one line a source, read from manifests and listings alone."""
    return [_HEADER, *(_line(workdir, source) for source in sources)]


def _line(workdir: Workdir, source: Source) -> tuple[str, ...]:
    sequences = read_sequence_manifest(workdir, source)
    folder = workdir.targets(source)
    manifest = read_manifest(workdir, folder)
    if sequences is None:
        return (str(source), "-", "-", "-", "-", "-", "-", "-", "not sharded")
    made = (str(source), str(sequences.shards), f"{sequences.sequences:,}")
    aside = f"{sequences.quarantined:,}"
    if manifest is None:
        return (*made, f"0/{sequences.shards}", "0", "0", "0.0", aside, "not taught")
    names = [shard_name(number, manifest.total) for number in range(manifest.total)]
    rows = finished_rows(workdir, folder, manifest.fingerprint, names).values()
    stale = manifest.fingerprints.get("sequences") != sequences.fingerprint
    state = "stale: other sequences" if stale else "done" if len(rows) == manifest.total else "unfinished"
    return (
        *made,
        f"{len(rows)}/{manifest.total}",
        f"{sum(row.rows for row in rows):,}",
        f"{sum(row.positions for row in rows):,}",
        f"{sum(row.bytes for row in rows) / 1e6:.1f}",
        aside,
        state,
    )
