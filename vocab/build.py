"""Build the merged vocabulary of a recipe, or let one grow, and write it into the working directory.

The manifest is written last and says that the rest is whole.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipe import Recipe, StaleError, Workdir
from vocab.agnostic import build_agnostic, choose_construction, lower_cases
from vocab.folder import write_folder
from vocab.identity import TeacherVocabulary, read_identities
from vocab.load import load_tokenizer, require_mask
from vocab.merge import Merge, merge_vocabularies
from vocab.rewrite import rewrite_tokenizer
from vocab.store import VERSION, MergedVocabulary, read_vocabulary, recipe_part, refuse_other


@dataclass(frozen=True)
class LoadedTeachers:
    """The tokenizers of a recipe's teachers, and their vocabularies as identities."""

    tokenizers: dict[str, Any]
    vocabularies: list[TeacherVocabulary]


def build(recipe: Recipe, workdir: Workdir, force: bool = False) -> tuple[MergedVocabulary, str]:
    """The merged vocabulary of a recipe and what was done: `merged`, `grown` or `up to date`.

    A vocabulary that is there grows by the recipe's new teachers, and every merged id in it stays. Raises StaleError if
    teachers were removed, reordered or changed and `force` is off, VocabularyError for a tokenizer that cannot be used.
    """
    manifest = None if force else workdir.read_json("vocab/manifest.json")
    wanted = recipe_part(recipe)
    if manifest is not None:
        refuse_other(workdir, manifest, recipe)
    tokenizers = {}
    for name, teacher in recipe.teachers.items():
        tokenizers[name] = load_tokenizer(name, teacher)
        require_mask(name, teacher, tokenizers[name])
    if manifest is None:
        teachers = read_teachers(recipe, tokenizers)
        workdir.remove("vocab/manifest.json")
        workdir.remove("vocab")
        write(workdir, recipe, teachers, merge_vocabularies(teachers.vocabularies), "built", [], None)
        return read_vocabulary(workdir, recipe, pruned=False), "merged"

    refuse_changed(workdir, manifest, tokenizers)
    if new := [name for name in tokenizers if name not in manifest["teachers"]]:
        teachers = read_teachers(recipe, tokenizers)
        known = {name: read_remap(workdir, name) for name in manifest["teachers"]}
        merged = merge_vocabularies(teachers.vocabularies, known)
        change = f"grown by {', '.join(new)}"
        write(workdir, recipe, teachers, merged, change, manifest["lineage"], manifest["pruned"])
        return read_vocabulary(workdir, recipe, pruned=False), "grown"
    if manifest["recipe"] != wanted:
        # Languages choose which tokenizer folders exist; no id depends on them.
        _write_languages(workdir, wanted["languages"])
        workdir.write_json("vocab/manifest.json", {**manifest, "recipe": wanted})
    return read_vocabulary(workdir, recipe, pruned=False), "up to date"


def read_teachers(recipe: Recipe, tokenizers: dict[str, Any]) -> LoadedTeachers:
    """The vocabularies of loaded tokenizers, read as the recipe says."""
    match = recipe.vocab.match
    return LoadedTeachers(tokenizers, [read_identities(name, each, match) for name, each in tokenizers.items()])


def read_remap(workdir: Workdir, teacher: str) -> np.ndarray[Any, np.dtype[np.int32]]:
    """A teacher's remap as it lies in the working directory."""
    return np.asarray(np.load(io.BytesIO(workdir.read_bytes(f"vocab/remaps/{teacher}.npy"))))


def refuse_changed(workdir: Workdir, manifest: dict[str, Any], tokenizers: dict[str, Any]) -> None:
    """Raise StaleError if a tokenizer is not the one that this vocabulary was built from."""
    known = {name: entry["tokenizer"] for name, entry in manifest["teachers"].items()}
    changed = [
        name
        for name, tokenizer in tokenizers.items()
        if name in known and known[name] != tokenizer_fingerprint(tokenizer)
    ]
    if changed:
        raise StaleError(
            f"{workdir.path('vocab')}: the tokenizer of {', '.join(changed)} has changed since this vocabulary was "
            "built; put it back, or to build it again: python -m vocab build RECIPE --force (and then teach again)"
        )


def write(
    workdir: Workdir,
    recipe: Recipe,
    teachers: LoadedTeachers,
    merged: Merge,
    change: str,
    lineage: list[dict[str, Any]],
    pruned: dict[str, Any] | None,
) -> None:
    """Write every file of the vocabulary, the manifest last; `change` says in its lineage what was done."""
    wanted = recipe_part(recipe)
    for name, tokenizer in teachers.tokenizers.items():
        remap = merged.remaps[name]
        write_array(workdir, f"vocab/remaps/{name}.npy", remap)
        files = rewrite_tokenizer(tokenizer, remap, len(merged.identities))
        write_folder(workdir, f"vocab/tokenizers/by-teacher/{name}", files)
    _write_languages(workdir, wanted["languages"])
    construction = choose_construction(teachers.vocabularies)
    lowercase = all(map(lower_cases, teachers.tokenizers.values()))
    write_folder(
        workdir, "vocab/tokenizer", build_agnostic(merged.spelled, merged.remaps, construction, lowercase=lowercase)
    )
    workdir.write_json(
        "vocab/vocabulary.json",
        {
            "version": VERSION,
            "size": len(merged.identities),
            "specials": merged.specials,
            "tokens": [identity.shown for identity in merged.spelled],
            "starts_word": "".join("1" if identity.starts_word else "0" for identity in merged.spelled),
        },
    )
    entry = {
        "change": change,
        "fingerprint": _fingerprint(merged),
        "size": len(merged.identities),
        "teachers": list(merged.remaps),
    }
    workdir.write_json(
        "vocab/manifest.json",
        {
            "version": VERSION,
            "fingerprint": entry["fingerprint"],
            "size": entry["size"],
            "specials": merged.specials,
            "agnostic": construction,
            "recipe": wanted,
            "teachers": {
                name: {
                    "size": len(merged.remaps[name]),
                    "dropped": int((merged.remaps[name] < 0).sum()),
                    "tokenizer": tokenizer_fingerprint(tokenizer),
                }
                for name, tokenizer in teachers.tokenizers.items()
            },
            "pruned": pruned,
            "lineage": [*lineage, entry],
        },
    )


def write_array(workdir: Workdir, path: str, array: np.ndarray[Any, Any]) -> None:
    """Write an array as `.npy`."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    workdir.write_bytes(path, buffer.getvalue())


def _write_languages(workdir: Workdir, languages: dict[str, str]) -> None:
    """Each language's own folder is a copy of its first teacher's."""
    for code, teacher in languages.items():
        source = f"vocab/tokenizers/by-teacher/{teacher}"
        files = {name: workdir.read_bytes(f"{source}/{name}") for name in workdir.sizes(source)}
        write_folder(workdir, f"vocab/tokenizers/{code}", files)


def _fingerprint(merged: Merge) -> str:
    digest = hashlib.sha256("\n".join(map(repr, merged.identities)).encode())
    for remap in merged.remaps.values():
        digest.update(remap.tobytes())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of a fast tokenizer's whole serialisation and special tokens."""
    roles = sorted((role, str(token)) for role, token in tokenizer.special_tokens_map.items())
    return hashlib.sha256((tokenizer.backend_tokenizer.to_str() + repr(roles)).encode()).hexdigest()
