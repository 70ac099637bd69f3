"""Rewrite a tokenizer's `tokenizer.json` so that it emits merged ids, id for id what its remap says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vocab.entries import TeacherVocabulary


def rewrite(
    vocabulary: TeacherVocabulary, remap: npt.NDArray[np.int32], display: Sequence[str]
) -> dict[str, Any]:
    """The teacher's `tokenizer.json` with merged ids; display[size]: how each merged token is shown.

    The model's own vocabulary is rebuilt to hold all `size` ids. Those that belong to other teachers only are
    filled with entries that begin with a space: no model is ever asked for one, since every family turns spaces
    into something else first. A dropped token is no longer in the vocabulary, so in a text it is read as text.
    """
    document = dict(vocabulary.document)
    entry_of: list[str | None] = [None] * len(display)
    for number, merged in enumerate(remap.tolist()):
        if merged >= 0:
            entry_of[merged] = vocabulary.tokens[number]
    filled = _fill(entry_of, display)
    dropped = {token for token, merged in zip(vocabulary.tokens, remap.tolist(), strict=True) if merged < 0}
    document["model"] = _model(document["model"], filled, remap, {token for token in dropped if token is not None})
    document["added_tokens"] = sorted(
        ({**token, "id": int(remap[token["id"]])} for token in document["added_tokens"] if remap[token["id"]] >= 0),
        key=lambda token: int(token["id"]),
    )
    document["post_processor"] = _post_processor(document.get("post_processor"), remap)
    document["padding"] = document["truncation"] = None
    return document


def _fill(entries: Sequence[str | None], display: Sequence[str]) -> list[str]:
    taken = {entry for entry in entries if entry is not None}
    filled = []
    for number, entry in enumerate(entries):
        if entry is None:
            entry = f" {display[number]}"
            if entry in taken:
                entry = f" {display[number]} {number}"
            taken.add(entry)
        filled.append(entry)
    return filled


def _model(
    model: Mapping[str, Any], entries: Sequence[str], remap: npt.NDArray[np.int32], dropped: set[str]
) -> dict[str, Any]:
    if isinstance(model["vocab"], list):
        scores: dict[int, float] = {}
        for number, (_, score) in enumerate(model["vocab"]):
            scores[int(remap[number])] = score
        # Not below the lowest score, from which the model derives what an unknown character costs.
        lowest = min(score for _, score in model["vocab"])
        unknown = model.get("unk_id")
        return {
            **model,
            "vocab": [[entry, scores.get(number, lowest)] for number, entry in enumerate(entries)],
            "unk_id": None if unknown is None else int(remap[unknown]),
        }
    rewritten = {**model, "vocab": {entry: number for number, entry in enumerate(entries)}}
    if dropped and "merges" in model:
        prefix = model.get("continuing_subword_prefix") or ""
        rewritten["merges"] = [merge for merge in model["merges"] if not dropped & _tokens_of(merge, prefix)]
    return rewritten


def _tokens_of(merge: Any, prefix: str) -> set[str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right.removeprefix(prefix)}


def _post_processor(processor: Mapping[str, Any] | None, remap: npt.NDArray[np.int32]) -> dict[str, Any] | None:
    if processor is None:
        return None
    result = dict(processor)
    if processor["type"] == "TemplateProcessing":
        result["special_tokens"] = {
            name: {**token, "ids": [int(remap[number]) for number in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    for end in ("cls", "sep"):
        if end in processor:
            token, number = processor[end]
            result[end] = [token, int(remap[number])]
    if "processors" in processor:
        result["processors"] = [_post_processor(part, remap) for part in processor["processors"]]
    return result
