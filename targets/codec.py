"""TargetRows ↔ Arrow table, without a Python loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from recipe import TargetsError
from targets.ragged import Ints, lengths_to_offsets
from targets.rows import Array, TargetRows
from targets.schema import LATER, LOGPROB_STEP, SCHEMA


def round_down(logprobs: Array) -> Array:
    """Log-probabilities on a grid of 2⁻¹⁰ nats, never above the true value, so that no position sums above 1.

    The grid is exact in float32: any reader sees plain floats, and they compress like 16-bit integers.
    """
    return (np.floor(logprobs.astype(np.float64) / LOGPROB_STEP) * LOGPROB_STEP).astype(np.float32)


def to_table(rows: TargetRows) -> pa.Table:
    """Encode: one table row a sequence; the ids of a row's positions lie end to end, `counts` cuts them."""
    counts = np.diff(rows.id_offsets)
    ids_per_row = rows.id_offsets[rows.position_offsets]
    columns: dict[str, Any] = {
        "sequence_id": pa.array(rows.sequence_id, pa.uint64()),
        "document": pa.array(rows.document, pa.uint64()),
        "copy": pa.array(rows.copy, pa.uint8()),
        "input_ids": _list(rows.input_ids, rows.input_offsets, "input_ids"),
        "positions": _list(rows.positions, rows.position_offsets, "positions"),
        "labels": _list(rows.labels, rows.position_offsets, "labels"),
        "gold_logprob": _list(round_down(rows.gold_logprob), rows.position_offsets, "gold_logprob"),
        "counts": _list(counts, rows.position_offsets, "counts"),
        "ids": _list(rows.ids, ids_per_row, "ids"),
        "logprobs": _list(round_down(rows.logprobs), ids_per_row, "logprobs"),
        "draws": _list(rows.draws, ids_per_row if len(rows.draws) else np.zeros_like(ids_per_row), "draws"),
    }
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)


def from_table(table: pa.Table, path: str) -> TargetRows:
    """Decode a table of SCHEMA. Raises TargetsError where a row's arrays disagree in length."""
    table = table.combine_chunks()
    flat: dict[str, Array] = {}
    offsets: dict[str, Ints] = {}
    for field in SCHEMA:
        if field.name in LATER and field.name not in table.column_names:
            flat[field.name], offsets[field.name] = np.empty(0, np.uint16), np.zeros(len(table) + 1, np.int64)
            continue
        column = table.column(field.name)
        array = column.chunk(0) if column.num_chunks else pa.array([], field.type)
        if pa.types.is_list(field.type):
            raw = np.asarray(array.offsets).astype(np.int64)
            offsets[field.name] = raw - raw[0]
            flat[field.name] = array.flatten().to_numpy(zero_copy_only=False)
        else:
            flat[field.name] = array.to_numpy(zero_copy_only=False)
    position_offsets = offsets["positions"]
    id_offsets = lengths_to_offsets(flat["counts"])
    agree = (
        all(np.array_equal(offsets[name], position_offsets) for name in ("labels", "gold_logprob", "counts"))
        and np.array_equal(offsets["ids"], offsets["logprobs"])
        and np.array_equal(offsets["ids"], id_offsets[position_offsets])
        and (not len(flat["draws"]) or np.array_equal(offsets["ids"], offsets["draws"]))
    )
    if not agree:
        raise TargetsError(f"{path}: the arrays of a row disagree in length; delete the file and teach it again")
    return TargetRows(
        sequence_id=flat["sequence_id"],
        document=flat["document"],
        copy=flat["copy"],
        input_ids=flat["input_ids"],
        input_offsets=offsets["input_ids"],
        positions=flat["positions"],
        labels=flat["labels"],
        gold_logprob=flat["gold_logprob"],
        position_offsets=position_offsets,
        ids=flat["ids"],
        logprobs=flat["logprobs"],
        id_offsets=id_offsets,
        draws=flat["draws"],
    )


def _list(values: Array, offsets: Ints, name: str) -> pa.ListArray:
    kind = SCHEMA.field(name).type
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind.value_type), type=kind)
