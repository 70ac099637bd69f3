"""Build the merged vocabulary of a recipe and write it into the working directory; the manifest comes last."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from recipe import Recipe, StaleError, Workdir
from vocab.agnostic import build_agnostic, lower_cases
from vocab.folder import write_folder
from vocab.identity import read_identities
from vocab.load import load_tokenizer, require_mask
from vocab.merge import Merge, merge_vocabularies
from vocab.rewrite import rewrite_tokenizer
from vocab.store import VERSION, MergedVocabulary, read_vocabulary, recipe_part, refuse_other


def build(recipe: Recipe, workdir: Workdir, force: bool = False) -> tuple[MergedVocabulary, bool]:
    """The merged vocabulary of a recipe, and whether it was built now or was there.

    Raises StaleError if one of other teachers or settings is there and `force` is off, VocabularyError for a
    tokenizer that cannot be used.
    """
    manifest = None if force else workdir.read_json("vocab/manifest.json")
    wanted = recipe_part(recipe)
    if manifest is not None:
        # Languages choose which tokenizer folders exist; no id depends on them, so they can change.
        refuse_other(workdir, {**manifest, "recipe": {**manifest["recipe"], "languages": wanted["languages"]}}, recipe)
    tokenizers = _load(recipe)
    if manifest is not None:
        _refuse_changed(workdir, manifest, tokenizers)
        if manifest["recipe"] != wanted:
            _write_languages(workdir, wanted["languages"])
            workdir.write_json("vocab/manifest.json", {**manifest, "recipe": wanted})
        return read_vocabulary(workdir, recipe), False

    vocabularies = [read_identities(name, tokenizer, recipe.vocab.match) for name, tokenizer in tokenizers.items()]
    merged = merge_vocabularies(vocabularies)
    shown = [identity.shown for identity in merged.spelled]
    # The manifest says that the rest is whole, so it goes first and comes last.
    workdir.remove("vocab/manifest.json")
    workdir.remove("vocab")
    for name, tokenizer in tokenizers.items():
        remap = merged.remaps[name]
        buffer = io.BytesIO()
        np.save(buffer, remap)
        workdir.write_bytes(f"vocab/remaps/{name}.npy", buffer.getvalue())
        write_folder(workdir, f"vocab/tokenizers/by-teacher/{name}", rewrite_tokenizer(tokenizer, remap, shown))
    _write_languages(workdir, wanted["languages"])
    agnostic = build_agnostic(merged.spelled, lowercase=all(map(lower_cases, tokenizers.values())))
    write_folder(workdir, "vocab/tokenizer", agnostic)
    workdir.write_json(
        "vocab/vocabulary.json",
        {
            "version": VERSION,
            "size": len(shown),
            "specials": merged.specials,
            "tokens": shown,
            "starts_word": "".join("1" if identity.starts_word else "0" for identity in merged.spelled),
        },
    )
    workdir.write_json("vocab/manifest.json", _manifest(merged, tokenizers, wanted))
    return read_vocabulary(workdir, recipe), True


def _load(recipe: Recipe) -> dict[str, Any]:
    tokenizers = {}
    for name, teacher in recipe.teachers.items():
        tokenizers[name] = load_tokenizer(name, teacher)
        require_mask(name, teacher, tokenizers[name])
    return tokenizers


def _refuse_changed(workdir: Workdir, manifest: dict[str, Any], tokenizers: dict[str, Any]) -> None:
    known = {name: entry["tokenizer"] for name, entry in manifest["teachers"].items()}
    changed = [name for name, tokenizer in tokenizers.items() if known.get(name) != tokenizer_fingerprint(tokenizer)]
    if changed:
        raise StaleError(
            f"{workdir.path('vocab')}: the tokenizer of {', '.join(changed)} has changed since this vocabulary was "
            "built; to build it again: python -m vocab build RECIPE --force (and then teach again)"
        )


def _write_languages(workdir: Workdir, languages: dict[str, str]) -> None:
    """Each language's own folder is a copy of its first teacher's."""
    for code, teacher in languages.items():
        source = f"vocab/tokenizers/by-teacher/{teacher}"
        files = {name: workdir.read_bytes(f"{source}/{name}") for name in workdir.sizes(source)}
        write_folder(workdir, f"vocab/tokenizers/{code}", files)


def _manifest(merged: Merge, tokenizers: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256("\n".join(map(repr, merged.identities)).encode())
    for remap in merged.remaps.values():
        digest.update(remap.tobytes())
    return {
        "version": VERSION,
        "fingerprint": digest.hexdigest(),
        "size": len(merged.identities),
        "specials": merged.specials,
        "recipe": wanted,
        "teachers": {
            name: {
                "size": len(merged.remaps[name]),
                "dropped": int((merged.remaps[name] < 0).sum()),
                "tokenizer": tokenizer_fingerprint(tokenizer),
            }
            for name, tokenizer in tokenizers.items()
        },
    }


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of a fast tokenizer's whole serialisation and special tokens."""
    roles = sorted((role, str(token)) for role, token in tokenizer.special_tokens_map.items())
    return hashlib.sha256((tokenizer.backend_tokenizer.to_str() + repr(roles)).encode()).hexdigest()
