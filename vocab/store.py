"""The merged vocabulary on disk, as pipeline and student read it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recipe import Recipe, StaleError, VocabularyError, Workdir

VERSION = 1


@dataclass(frozen=True)
class MergedVocabulary:
    """The student's vocabulary: `size` tokens, special tokens by role, and each teacher's remap.

    tokens[size]: how each token is shown, `▁` before those that start a word; starts_word[size] bool.
    """

    workdir: Workdir
    size: int
    specials: dict[str, int]
    teachers: tuple[str, ...]
    fingerprint: str

    def remap(self, teacher: str) -> npt.NDArray[np.int32]:
        """Teacher id → merged id, −1 for a dropped id; int32, as long as the teacher's vocabulary."""
        if teacher not in self.teachers:
            raise VocabularyError(
                f"the merged vocabulary has no teacher {teacher!r}; it has {', '.join(self.teachers)}"
            )
        return np.asarray(np.load(io.BytesIO(self.workdir.read_bytes(f"vocab/remaps/{teacher}.npy"))))

    def remap_fingerprint(self, teacher: str) -> str:
        """sha256 of what a teacher's targets depend on in this vocabulary: its remap and the unknown token.

        Not of the whole vocabulary, so that targets stay valid when a later teacher only adds to it.
        """
        digest = hashlib.sha256(self.remap(teacher).tobytes())
        digest.update(str(self.specials["unk"]).encode())
        return digest.hexdigest()

    @property
    def tokens(self) -> list[str]:
        return list(self._document["tokens"])

    @property
    def starts_word(self) -> npt.NDArray[np.bool_]:
        return np.frombuffer(self._document["starts_word"].encode(), np.uint8) == ord("1")

    @cached_property
    def _document(self) -> dict[str, Any]:
        return dict(self.workdir.read_json("vocab/vocabulary.json"))


def recipe_part(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe determines the merged vocabulary and its tokenizers."""
    return {
        "teachers": [
            {"name": name, "tokenizer": teacher.tokenizer or teacher.model, "revision": teacher.revision}
            for name, teacher in recipe.teachers.items()
        ],
        "languages": {code: language.teachers[0] for code, language in recipe.languages.items()},
        "vocab": recipe.vocab.model_dump(),
    }


def read_vocabulary(workdir: Workdir, recipe: Recipe) -> MergedVocabulary:
    """The vocabulary of a working directory, without loading any tokenizer.

    Raises VocabularyError where there is none, StaleError where it was built for other teachers or settings.
    """
    manifest = workdir.read_json("vocab/manifest.json")
    if manifest is None:
        raise VocabularyError(
            f"{workdir.path('vocab')}: there is no merged vocabulary; run `python -m vocab build RECIPE` first"
        )
    refuse_other(workdir, manifest, recipe)
    return MergedVocabulary(
        workdir=workdir,
        size=manifest["size"],
        specials=manifest["specials"],
        teachers=tuple(manifest["teachers"]),
        fingerprint=manifest["fingerprint"],
    )


def refuse_other(workdir: Workdir, manifest: dict[str, Any], recipe: Recipe) -> None:
    """Raise StaleError if the vocabulary of this manifest is not the one that the recipe describes."""
    wanted = recipe_part(recipe)
    if manifest.get("version") != VERSION:
        changed = ["format"]
    else:
        changed = [name for name, value in wanted.items() if manifest["recipe"].get(name) != value]
    if changed:
        raise StaleError(
            f"{workdir.path('vocab')}: was built for another {' and '.join(changed)} than the recipe now says; "
            "to build it again: python -m vocab build RECIPE --force (and then teach again)"
        )
