"""Drop the merged tokens that the recipe's corpora never use, counted in their sequence shards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recipe import Recipe, Source, StaleError, VocabularyError, Workdir
from vocab.build import LoadedTeachers, read_remap, read_teachers, refuse_changed, write, write_array
from vocab.identity import Identity
from vocab.load import ROLES, load_tokenizer
from vocab.merge import Merge, merge_vocabularies
from vocab.store import read_vocabulary

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pruned:
    """before, after: tokens of the merged vocabulary; mass[source]: share of a source's tokens that is lost."""

    before: int
    after: int
    mass: dict[str, float]


def prune(recipe: Recipe, workdir: Workdir, force: bool = False) -> Pruned | None:
    """Rewrite the vocabulary without tokens used fewer than `vocab.min_count` times; None where that was done before.

    `vocab/pruned.npy` maps each earlier merged id to the new one, −1 where it is gone. Raises StaleError where
    targets were made with the vocabulary as it is and `force` is off, VocabularyError where a source has no shards.
    """
    if not recipe.vocab.min_count:
        raise VocabularyError("vocab.min_count: is 0, so nothing is to be pruned; set how often a token must be used")
    vocabulary = read_vocabulary(workdir, recipe, pruned=False)
    manifest = workdir.read_json("vocab/manifest.json")
    if manifest["pruned"]:
        return None
    sources = list(recipe.sources())
    if not force and any(workdir.exists(f"{workdir.targets(source)}/manifest.json") for source in sources):
        raise StaleError(
            f"{workdir.path('targets')}: holds targets in the merged ids as they are; they would have to be made "
            "again: python -m vocab prune RECIPE --force (and then teach again)"
        )
    counts = {source: count_tokens(workdir, source, vocabulary.remap(source.teacher)) for source in sources}
    tokenizers = {name: load_tokenizer(name, teacher) for name, teacher in recipe.teachers.items()}
    refuse_changed(workdir, manifest, tokenizers)
    teachers = read_teachers(recipe, tokenizers)
    known = {name: read_remap(workdir, name) for name in tokenizers}
    merged = merge_vocabularies(teachers.vocabularies, known)

    used = np.zeros(len(merged.identities), np.int64)
    for source in sources:
        remap = merged.remaps[source.teacher]
        used[remap[remap >= 0]] += counts[source][remap >= 0]
    keep = _kept(teachers, merged, used >= recipe.vocab.min_count)
    moved = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
    figures = Pruned(
        before=len(keep),
        after=int(keep.sum()),
        mass={str(source): _lost(counts[source], merged.remaps[source.teacher], keep) for source in sources},
    )
    smaller = Merge(
        identities=_select(merged.identities, keep),
        spelled=_select(merged.spelled, keep),
        remaps={name: np.where(remap >= 0, moved[remap], -1).astype(np.int32) for name, remap in merged.remaps.items()},
    )
    record = {
        "min_count": recipe.vocab.min_count,
        "removed": figures.before - figures.after,
        "teachers": list(tokenizers),
        "sources": [[source.teacher, source.language] for source in sources],
        "mass": figures.mass,
    }
    # Remaps and tokenizers must not be read in part; until the manifest is back there is no vocabulary.
    workdir.remove("vocab/manifest.json")
    write_array(workdir, "vocab/pruned.npy", moved)
    write(workdir, recipe, teachers, smaller, f"pruned of {record['removed']} tokens", manifest["lineage"], record)
    return figures


def count_tokens(workdir: Workdir, source: Source, remap: Array) -> Array:
    """How often each teacher id is used in a source's sequence shards, held-out ones included: int64[len(remap)]."""
    if not workdir.exists(f"{workdir.sequences(source)}/manifest.json"):
        raise VocabularyError(
            f"{workdir.path(workdir.sequences(source))}: has no finished shards to count in; "
            f"run `python -m pipeline shard RECIPE --lang {source.language}` first"
        )
    counts = np.zeros(len(remap), np.int64)
    for folder in (workdir.sequences(source), workdir.sequences(source, heldout=True)):
        for name in sorted(workdir.sizes(folder)):
            if not name.endswith(".parquet"):
                continue
            path = workdir.path(f"{folder}/{name}")
            try:
                with workdir.fs.open(path, "rb") as stream:
                    column = pq.read_table(stream, columns=["input_ids"]).column("input_ids")
            except (pa.ArrowException, OSError) as error:
                cause = " ".join(str(error).split())[:120]
                raise VocabularyError(
                    f"{path}: is truncated or damaged ({cause}); delete it and run "
                    f"`python -m pipeline shard RECIPE --lang {source.language}` again"
                ) from None
            ids = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            counts += np.bincount(ids, minlength=len(counts))[: len(counts)]
    return counts


def _lost(counts: Array, remap: Array, keep: Array) -> float:
    gone = (remap >= 0) & ~keep[remap]
    return float(counts[gone].sum() / max(1, counts.sum()))


def _kept(teachers: LoadedTeachers, merged: Merge, used: Array) -> Array:
    """keep[merged size]: used often enough, special, a byte, or a step on a merge's way to a token that is kept."""
    keep = used.copy()
    keep[: len(ROLES)] = True
    keep |= np.array([identity.kind in ("special", "byte") for identity in merged.spelled])
    for name, tokenizer in teachers.tokenizers.items():
        _keep_parts(json.loads(tokenizer.backend_tokenizer.to_str())["model"], merged.remaps[name], keep)
    return keep


def _keep_parts(model: dict[str, Any], remap: Array, keep: Array) -> None:
    """Mark what a BPE model merges on the way to a kept token; without it the token could not be made."""
    prefix = model.get("continuing_subword_prefix") or ""
    vocabulary = model["vocab"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges") or []]
    names = [(first, second, first + second.removeprefix(prefix)) for first, second in pairs]
    steps = [tuple(int(remap[vocabulary[name]]) for name in step) for step in reversed(names)]
    kept = -1
    while kept != (kept := int(keep.sum())):
        for first, second, whole in steps:
            if whole >= 0 and keep[whole]:
                keep[[part for part in (first, second) if part >= 0]] = True


def _select(identities: tuple[Identity, ...], keep: Array) -> tuple[Identity, ...]:
    return tuple(identity for identity, kept in zip(identities, keep.tolist(), strict=True) if kept)
