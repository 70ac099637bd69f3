"""What is on disk: per source, sequences and targets done, how fast they come, and what was set aside or failed."""

from __future__ import annotations

from pipeline.sequences import SequenceManifest, read_sequence_manifest
from recipe import Recipe, Source, Workdir, shard_name
from targets import read_manifest
from targets.manifest import finished_rows, row_path

_HEADER = (
    "source", "shards", "sequences", "positions", "MB", "rate", "ETA", "failed",
    "documents = used + duplicate + filtered + quarantined", "state",
)  # fmt: skip
_RECENT = 20


def status_table(recipe: Recipe, workdir: Workdir, sources: tuple[Source, ...]) -> list[tuple[str, ...]]:
    """A header and one line a source, read from manifests and listings alone."""
    return [_HEADER, *(_line(workdir, source) for source in sources)]


def _line(workdir: Workdir, source: Source) -> tuple[str, ...]:
    sequences = read_sequence_manifest(workdir, source)
    if sequences is None:
        begun = workdir.exists(f"{workdir.sequences(source)}/job.json")
        return (str(source), *["-"] * 8, "being sharded" if begun else "not sharded")
    folder = workdir.targets(source)
    manifest = read_manifest(workdir, folder)
    documents = _documents(sequences)
    prefix = f"{source.teacher}-"
    failed = sum(name.startswith(prefix) for name in workdir.sizes(f"quarantine/teach/{source.language}"))
    if manifest is None:
        counts = (f"0/{sequences.shards}", f"{sequences.sequences:,}", "0", "0.0", "-", "-", str(failed))
        return (str(source), *counts, documents, "not taught")
    names = [shard_name(number, manifest.total) for number in range(manifest.total)]
    rows = finished_rows(workdir, folder, manifest.fingerprint, names)
    positions = sum(row.positions for row in rows.values())
    if manifest.fingerprints.get("sequences") != sequences.fingerprint:
        state = "stale: other sequences"
    else:
        state = "done" if len(rows) == manifest.total else "unfinished"
    rate, left = _pace(workdir, folder, list(rows), manifest.total - len(rows), positions / max(1, len(rows)))
    return (
        str(source),
        f"{len(rows)}/{manifest.total}",
        f"{sum(row.rows for row in rows.values()):,}",
        f"{positions:,}",
        f"{sum(row.bytes for row in rows.values()) / 1e6:.1f}",
        rate,
        left,
        str(failed),
        documents,
        state,
    )


def _documents(m: SequenceManifest) -> str:
    return f"{m.read:,} = {m.used:,} + {m.duplicates:,} + {m.filtered:,} + {m.quarantined:,}"


def _pace(workdir: Workdir, folder: str, done: list[str], missing: int, positions: float) -> tuple[str, str]:
    """Positions a second over the last shards that were finished, and the time that the missing ones will take."""
    written = workdir.modified(row_path(folder, "x.parquet").rpartition("/")[0])
    names = {row_path("", name).rpartition("/")[2] for name in done}
    times = sorted(seconds for name, seconds in written.items() if name in names)[-_RECENT:]
    if len(times) < 2 or times[-1] <= times[0]:
        return "-", "-"
    seconds = (times[-1] - times[0]) / (len(times) - 1)
    minutes = round(missing * seconds / 60)
    return f"{positions / seconds:,.0f}/s", f"{minutes // 60}:{minutes % 60:02}" if missing else "-"
