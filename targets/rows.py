"""Teacher targets in memory: flat arrays for n sequences with P masked positions and N stored ids in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from targets.ragged import Ints, gather

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TargetRows:
    """n sequences as the student will see them, and what the teacher said at their masked positions.

    sequence_id[n] uint64, document[n] uint64, copy[n] uint8;
    input_ids[T] int32 with input_offsets[n + 1]; positions[P] uint16, labels[P] int32 and
    gold_logprob[P] float32 with position_offsets[n + 1]; ids[N] int32 and logprobs[N] float32 with
    id_offsets[P + 1]. Ids are merged ids; log-probabilities are natural, of the teacher's whole
    distribution at temperature 1, so what a position's probabilities lack to 1 is its residual mass.
    draws[N] uint16: how often each id was drawn, for the encodings that draw; else empty.
    """

    sequence_id: Array
    document: Array
    copy: Array
    input_ids: Array
    input_offsets: Ints
    positions: Array
    labels: Array
    gold_logprob: Array
    position_offsets: Ints
    ids: Array
    logprobs: Array
    id_offsets: Ints
    draws: Array = field(default_factory=lambda: np.empty(0, np.uint16))

    def __len__(self) -> int:
        return len(self.sequence_id)

    @property
    def lengths(self) -> Ints:
        """Tokens of each sequence, [n]."""
        return self.input_offsets[1:] - self.input_offsets[:-1]

    def take(self, rows: Ints) -> TargetRows:
        """The chosen sequences, in the given order."""
        tokens, input_offsets = gather(self.input_offsets, rows)
        places, position_offsets = gather(self.position_offsets, rows)
        stored, id_offsets = gather(self.id_offsets, places)
        return TargetRows(
            sequence_id=self.sequence_id[rows],
            document=self.document[rows],
            copy=self.copy[rows],
            input_ids=self.input_ids[tokens],
            input_offsets=input_offsets,
            positions=self.positions[places],
            labels=self.labels[places],
            gold_logprob=self.gold_logprob[places],
            position_offsets=position_offsets,
            ids=self.ids[stored],
            logprobs=self.logprobs[stored],
            id_offsets=id_offsets,
            draws=self.draws[stored] if len(self.draws) else self.draws,
        )


def concatenate(parts: Sequence[TargetRows]) -> TargetRows:
    """One TargetRows out of several, in order."""
    if len(parts) == 1:
        return parts[0]

    def flat(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    def offsets(name: str) -> Ints:
        starts = np.cumsum([0, *(getattr(part, name)[-1] for part in parts)])
        return np.concatenate(
            [
                np.zeros(1, np.int64),
                *(getattr(part, name)[1:] + start for part, start in zip(parts, starts, strict=False)),
            ]
        )

    return TargetRows(
        **{name: offsets(name) if name.endswith("_offsets") else flat(name) for name in TargetRows.__dataclass_fields__}
    )
