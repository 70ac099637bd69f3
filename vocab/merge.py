"""The union of several teachers' vocabularies, and the map from each into it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocab.identity import Identity, TeacherVocabulary
from vocab.load import ROLES


@dataclass(frozen=True)
class Merge:
    """identities[i] is merged id i: the special roles first, then what each teacher adds, in order.

    spelled[i]: its canonical reading by the first teacher that has it (the same, but for `match: surface`);
    remaps[teacher] is int32: teacher id → merged id, −1 where the id is dropped; injective elsewhere.
    """

    identities: tuple[Identity, ...]
    spelled: tuple[Identity, ...]
    remaps: dict[str, npt.NDArray[np.int32]]

    @property
    def specials(self) -> dict[str, int]:
        return {role: number for number, role in enumerate(ROLES)}


def merge_vocabularies(teachers: Sequence[TeacherVocabulary]) -> Merge:
    """Give every distinct identity one merged id. The same teachers in the same order give the same ids."""
    ids: dict[Identity, int] = {Identity("special", role): number for number, role in enumerate(ROLES)}
    spelled = list(ids)
    remaps = {}
    for teacher in teachers:
        remap = np.full(len(teacher.identities), -1, np.int32)
        for number, (identity, reading) in enumerate(zip(teacher.identities, teacher.spelled, strict=True)):
            if identity is None or reading is None:
                continue
            remap[number] = ids.setdefault(identity, len(ids))
            if len(ids) > len(spelled):
                spelled.append(reading)
        remaps[teacher.name] = remap
    return Merge(tuple(ids), tuple(spelled), remaps)
