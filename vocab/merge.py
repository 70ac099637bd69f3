"""The union of several teachers' vocabularies, and the map from each into it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recipe.collector import collector_off
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


def merge_vocabularies(
    teachers: Sequence[TeacherVocabulary], known: Mapping[str, npt.NDArray[np.int32]] | None = None
) -> Merge:
    """Give every distinct identity one merged id. The same teachers in the same order give the same ids.

    known[teacher]: remaps of a merged vocabulary that is to grow. Every id in them stays, and so do those remaps
    themselves; what the other teachers add comes after.
    """
    known = known or {}
    with collector_off():
        ids: dict[Identity, int] = {Identity("special", role): number for number, role in enumerate(ROLES)}
        spelled = dict(zip(ids.values(), ids, strict=True))
        for teacher in teachers:
            for number, merged in enumerate(known.get(teacher.name, np.empty(0, np.int32)).tolist()):
                identity, reading = teacher.identities[number], teacher.spelled[number]
                if merged >= 0 and identity is not None and reading is not None:
                    ids.setdefault(identity, merged)
                    spelled.setdefault(merged, reading)
        remaps = {}
        for teacher in teachers:
            if teacher.name in known:
                remaps[teacher.name] = known[teacher.name]
                continue
            remap = [-1] * len(teacher.identities)
            for number, (identity, reading) in enumerate(zip(teacher.identities, teacher.spelled, strict=True)):
                if identity is not None and reading is not None:
                    remap[number] = merged = ids.setdefault(identity, len(ids))
                    if merged not in spelled:
                        spelled[merged] = reading
            remaps[teacher.name] = np.array(remap, np.int32)
        by_id = sorted(ids, key=ids.__getitem__)
    return Merge(tuple(by_id), tuple(spelled[number] for number in range(len(by_id))), remaps)
