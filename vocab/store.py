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

VERSION = 2


@dataclass(frozen=True)
class MergedVocabulary:
    """The student's vocabulary: `size` tokens, special tokens by role, and each teacher's remap.

    tokens[size]: how each token is shown, `▁` before those that start a word; starts_word[size] bool;
    lineage: how it came to be, one record for each time it was built, grown or pruned.
    """

    workdir: Workdir
    size: int
    specials: dict[str, int]
    teachers: tuple[str, ...]
    fingerprint: str
    lineage: tuple[dict[str, Any], ...] = ()

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
        "match": recipe.vocab.match,
    }


def read_vocabulary(workdir: Workdir, recipe: Recipe, pruned: bool = True) -> MergedVocabulary:
    """The vocabulary of a working directory, without loading any tokenizer.

    `pruned`: insist that it is pruned where the recipe asks for that. Raises VocabularyError where there is none,
    StaleError where it was built for other teachers or settings.
    """
    manifest = workdir.read_json("vocab/manifest.json")
    if manifest is None:
        raise VocabularyError(
            f"{workdir.path('vocab')}: there is no merged vocabulary; run `python -m vocab build RECIPE` first"
        )
    refuse_other(workdir, manifest, recipe)
    wanted = recipe_part(recipe)
    if manifest["recipe"] != wanted:
        raise StaleError(
            f"{workdir.path('vocab')}: the recipe has got new teachers or languages; run `python -m vocab build "
            "RECIPE`, which keeps every merged id"
        )
    if pruned and recipe.vocab.min_count and not manifest["pruned"]:
        raise StaleError(
            f"{workdir.path('vocab')}: vocab.min_count asks for a pruned vocabulary; run `python -m vocab prune "
            "RECIPE` once the corpora are cut into shards"
        )
    return MergedVocabulary(
        workdir=workdir,
        size=manifest["size"],
        specials=manifest["specials"],
        teachers=tuple(manifest["teachers"]),
        fingerprint=manifest["fingerprint"],
        lineage=tuple(manifest["lineage"]),
    )


def refuse_other(workdir: Workdir, manifest: dict[str, Any], recipe: Recipe) -> None:
    """Raise StaleError unless the vocabulary of this manifest is the recipe's or can grow into it."""
    if manifest.get("version") != VERSION:
        problem: str | None = "was built by another version of this program"
    else:
        problem = _difference(manifest, recipe)
    if problem:
        raise StaleError(
            f"{workdir.path('vocab')}: {problem}, or to build it again: python -m vocab build RECIPE --force "
            "(and then teach again)"
        )


def _difference(manifest: dict[str, Any], recipe: Recipe) -> str | None:
    wanted, built = recipe_part(recipe), manifest["recipe"]
    if built["match"] != wanted["match"]:
        return f"was built with vocab.match: {built['match']}; set that again"
    known = [teacher["name"] for teacher in built["teachers"]]
    names = list(recipe.teachers)
    if gone := [name for name in known if name not in names]:
        return f"holds the tokens of {', '.join(gone)}, which the recipe no longer has; put back teachers.{gone[0]}"
    if names[: len(known)] != known:
        return f"has its teachers in the order {', '.join(known)}; keep that order and put new ones last"
    for before, after in zip(built["teachers"], wanted["teachers"], strict=False):
        if before != after:
            return f"was built with {before['tokenizer']} as tokenizer of {before['name']}; set that again"
    if pruned := manifest["pruned"]:
        if pruned["min_count"] != recipe.vocab.min_count:
            return f"was pruned with vocab.min_count: {pruned['min_count']}; set that again"
        for source in recipe.sources():
            if source.teacher in pruned["teachers"] and [source.teacher, source.language] not in pruned["sources"]:
                return f"was pruned of tokens that {source} may need; leave {source.language} to new teachers"
    return None
