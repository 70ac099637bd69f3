"""Look at every number of a shard that can be wrong without the format noticing."""

from __future__ import annotations

import hashlib

import numpy as np

from recipe import TargetsError, Workdir
from targets.manifest import Manifest, ShardRow
from targets.reader import open_shard, read_shard
from targets.rows import TargetRows


def verify_shard(workdir: Workdir, folder: str, row: ShardRow, manifest: Manifest) -> TargetRows:
    """Check one shard against its manifest row: bytes, fingerprint, ranges, probabilities.

    Returns its rows for checks that need more than the targets. Raises TargetsError with the first problem.
    """
    path = f"{folder}/{row.name}"
    where = workdir.path(path)
    if workdir.exists(path) and hashlib.sha256(workdir.read_bytes(path)).hexdigest() != row.sha256:
        raise TargetsError(f"{where}: its bytes are not those that were written (sha256 differs)")
    with open_shard(workdir, path) as (_, info):
        if info.fingerprint != manifest.fingerprint:
            raise TargetsError(f"{where}: was made from something else (fingerprint differs)")
    rows = read_shard(workdir, path)
    problem = first_problem(rows, manifest.vocabulary_size, manifest.k)
    if problem is None and len(rows) != row.rows:
        problem = f"has {len(rows)} rows, the manifest says {row.rows}"
    if problem:
        raise TargetsError(f"{where}: {problem}")
    return rows


def first_problem(rows: TargetRows, vocabulary_size: int, most: int | None = None) -> str | None:
    """What is wrong with these rows, or None; `most`: ids or draws that a position may have."""
    for name in ("input_ids", "labels", "ids"):
        values = getattr(rows, name)
        if values.size and not (values.min() >= 0 and values.max() < vocabulary_size):
            return f"{name} has an id outside the vocabulary of {vocabulary_size}"
    for name in ("gold_logprob", "logprobs"):
        values = getattr(rows, name)
        if not np.isfinite(values).all() or (values > 0).any():
            return f"{name} has a value that is no log-probability"
    row_of_position = np.repeat(np.arange(len(rows)), np.diff(rows.position_offsets))
    if (rows.positions >= rows.lengths[row_of_position]).any():
        return "positions has one beyond the end of its sequence"
    same_row = row_of_position[1:] == row_of_position[:-1]
    if (np.diff(rows.positions.astype(np.int64))[same_row] <= 0).any():
        return "positions are not ascending"
    counts = np.diff(rows.id_offsets)
    if (counts == 0).any() and not len(rows.draws):
        return "a position has no stored id"
    if len(rows.draws):
        sums = np.add.reduceat(np.append(rows.draws, 0).astype(np.int64), rows.id_offsets[:-1])[counts > 0]
        if (rows.draws == 0).any() or (most is not None and (sums > most).any()):
            return f"draws of a position are none or more than {most}"
    elif most is not None and (counts > most).any():
        return f"a position has more than {most} ids"
    if counts.size:
        ends = np.append(np.exp(rows.logprobs.astype(np.float64)), 0.0)
        mass = np.add.reduceat(ends, rows.id_offsets[:-1])[counts > 0]
        if (mass > 1 + 1e-6).any():
            return f"the probabilities of a position sum to {mass.max():.4f}"
    position_of_id = np.repeat(np.arange(len(counts)), counts)
    pairs = position_of_id * np.int64(vocabulary_size) + rows.ids
    if len(np.unique(pairs)) != len(pairs):
        return "a position stores the same id twice"
    return None
