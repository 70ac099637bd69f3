"""TargetRows → the tensors of one training step."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from targets import TargetRows


@dataclass(frozen=True)
class TensorBatch:
    """input_ids[B, T], attention_mask[B, T], rows[R] into B·T, gold[R], ids[R, K], logprobs[R, K], row_of[R] into B.

    K is the largest number of ids stored at a position of the batch; the rest is id 0 at log-probability −inf.
    """

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    gold: Tensor
    ids: Tensor
    logprobs: Tensor
    row_of: Tensor

    def to(self, device: torch.device) -> TensorBatch:
        return TensorBatch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def collate(rows: TargetRows, pad_id: int, draws: int = 0) -> TensorBatch:
    """Pad to the longest sequence and to the largest number of stored ids.

    draws: for targets that were drawn so many times; their log-probabilities are then those of the draws, count/draws.
    """
    lengths = rows.lengths
    width = int(lengths.max())
    attention = np.arange(width) < lengths[:, None]
    input_ids = np.full(attention.shape, pad_id, np.int64)
    input_ids[attention] = rows.input_ids
    row_of = np.repeat(np.arange(len(rows)), np.diff(rows.position_offsets))
    counts = np.diff(rows.id_offsets)
    stored = np.arange(counts.max(initial=1)) < counts[:, None]
    ids = np.zeros(stored.shape, np.int64)
    ids[stored] = rows.ids
    logprobs = np.full(stored.shape, -np.inf, np.float32)
    logprobs[stored] = np.log(rows.draws / np.float32(draws)) if draws else rows.logprobs
    return TensorBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention.astype(np.int64)),
        rows=torch.from_numpy(row_of * width + rows.positions),
        gold=torch.from_numpy(rows.labels.astype(np.int64)),
        ids=torch.from_numpy(ids),
        logprobs=torch.from_numpy(logprobs),
        row_of=torch.from_numpy(row_of),
    )
