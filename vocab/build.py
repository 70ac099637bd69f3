"""Build the merged vocabulary of a recipe and write it into the working directory; the manifest comes last."""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from recipe import Recipe, Workdir
from vocab.agnostic import build_agnostic
from vocab.identity import read_identities
from vocab.load import load_tokenizer, require_mask
from vocab.merge import merge_vocabularies
from vocab.rewrite import rewrite_tokenizer
from vocab.store import VERSION, MergedVocabulary, read_vocabulary, recipe_part, refuse_other


def build(recipe: Recipe, workdir: Workdir, force: bool = False) -> tuple[MergedVocabulary, bool]:
    """The merged vocabulary of a recipe, and whether it was built now or was there.

    Raises StaleError if one of other teachers or settings is there and `force` is off, VocabularyError for a
    tokenizer that cannot be used.
    """
    manifest = workdir.read_json("vocab/manifest.json")
    if manifest is not None and not force:
        refuse_other(workdir, manifest, recipe)
        return read_vocabulary(workdir, recipe), False

    tokenizers = {}
    for name, teacher in recipe.teachers.items():
        tokenizers[name] = load_tokenizer(name, teacher)
        require_mask(name, teacher, tokenizers[name])
    vocabularies = [read_identities(name, tokenizer, recipe.vocab.match) for name, tokenizer in tokenizers.items()]
    merged = merge_vocabularies(vocabularies)
    shown = [identity.shown for identity in merged.identities]

    workdir.remove("vocab/manifest.json")
    for name, tokenizer in tokenizers.items():
        remap = merged.remaps[name]
        buffer = io.BytesIO()
        np.save(buffer, remap)
        workdir.write_bytes(f"vocab/remaps/{name}.npy", buffer.getvalue())
        exact = rewrite_tokenizer(tokenizer, remap, shown)
        _save(exact, workdir, f"vocab/tokenizers/by-teacher/{name}")
        for code, language in recipe.languages.items():
            if language.teachers[0] == name:
                _save(exact, workdir, f"vocab/tokenizers/{code}")
    _save(build_agnostic(merged.identities), workdir, "vocab/tokenizer")
    workdir.write_json(
        "vocab/vocabulary.json",
        {
            "version": VERSION,
            "size": len(shown),
            "specials": merged.specials,
            "tokens": shown,
            "starts_word": "".join("1" if identity.starts_word else "0" for identity in merged.identities),
        },
    )
    digest = hashlib.sha256("\n".join(f"{kind} {text}" for kind, text in merged.identities).encode())
    for name in tokenizers:
        digest.update(merged.remaps[name].tobytes())
    workdir.write_json(
        "vocab/manifest.json",
        {
            "version": VERSION,
            "fingerprint": digest.hexdigest(),
            "size": len(shown),
            "specials": merged.specials,
            "recipe": recipe_part(recipe),
            "teachers": {
                name: {
                    "size": len(merged.remaps[name]),
                    "dropped": int((merged.remaps[name] < 0).sum()),
                    "tokenizer": tokenizer_fingerprint(tokenizer),
                }
                for name, tokenizer in tokenizers.items()
            },
        },
    )
    return read_vocabulary(workdir, recipe), True


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of a fast tokenizer's whole serialisation and special tokens."""
    roles = sorted((role, str(token)) for role, token in tokenizer.special_tokens_map.items())
    return hashlib.sha256((tokenizer.backend_tokenizer.to_str() + repr(roles)).encode()).hexdigest()


def _save(tokenizer: Any, workdir: Workdir, folder: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer.save_pretrained(temporary)
        for path in sorted(Path(temporary).iterdir()):
            workdir.write_bytes(f"{folder}/{path.name}", path.read_bytes())
