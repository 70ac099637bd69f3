"""A teacher's own tokenizer, made to emit merged ids: same segmentation, same offsets, `len` of the merged size.

Only ids change in its `tokenizer.json`. Merged ids that are not this teacher's are filled with entries that can
never match: they begin with a space, and no model of these families ever looks up a string with a space in it.
The file is written as such, not by way of a tokenizer object: building one takes seconds for a Unigram.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from recipe import VocabularyError
from recipe.collector import collector_off
from vocab.folder import settings_of, tokenizer_files


def rewrite_tokenizer(tokenizer: Any, remap: npt.NDArray[np.int32], size: int) -> dict[str, bytes]:
    """tokenizer, remap[V], size of the merged vocabulary → files of a tokenizer folder that gives remap[ids].

    Added tokens whose id is dropped (`<extra_id_0>`) are read as plain text by the result.
    """
    with collector_off():
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        state["padding"] = state["truncation"] = None
        to_merged = remap.tolist()
        added = [token for token in state["added_tokens"] if to_merged[token["id"]] >= 0]
        by_id = {token["content"]: to_merged[token["id"]] for token in added}
        for token in added:
            token["id"] = by_id[token["content"]]
        state["added_tokens"] = sorted(added, key=lambda token: token["id"])
        state["model"] = _rewrite_model(state["model"], to_merged, by_id, size)
        if state["post_processor"] is not None:
            state["post_processor"] = _rewrite_post_processor(state["post_processor"], by_id)
        return tokenizer_files(state, settings_of(tokenizer, by_id))


def _rewrite_model(model: dict[str, Any], remap: list[int], added: dict[str, int], size: int) -> dict[str, Any]:
    match model["type"]:
        case "Unigram":
            # A hole scores like the worst piece: a lower score would change the price of an unknown character.
            worst = min(score for _, score in model["vocab"])
            pieces: list[tuple[str, float]] = [(hole, worst) for hole in _holes(size)]
            for content, number in added.items():
                pieces[number] = (content, worst)
            # Of a piece that is listed twice the last is the one that counts; the others can't be emitted.
            last = {piece: number for number, (piece, _) in enumerate(model["vocab"])}
            for piece, number in last.items():
                if remap[number] >= 0:
                    pieces[remap[number]] = (piece, model["vocab"][number][1])
            unknown = model["unk_id"]
            return {**model, "vocab": pieces, "unk_id": None if unknown is None else remap[unknown]}
        case "WordPiece" | "BPE" | "WordLevel":
            tokens = list(_holes(size))
            for content, number in added.items():
                tokens[number] = content
            dropped = set()
            for token, number in model["vocab"].items():
                if remap[number] >= 0:
                    tokens[remap[number]] = token
                else:
                    dropped.add(token)
            return {**model, "vocab": dict(zip(tokens, range(size), strict=True)), **_merges(model, dropped)}
    raise VocabularyError(f"tokenizer models of type {model['type']} cannot be merged")


@lru_cache(maxsize=1)
def _holes(size: int) -> tuple[str, ...]:
    """An entry for each id that is another teacher's, which cannot match because of the space; short, to load fast."""
    return tuple(f" #{number}" for number in range(size))


def _merges(model: dict[str, Any], dropped: set[str]) -> dict[str, Any]:
    """The merges of a BPE model less those of dropped tokens, which it would refuse to load."""
    if "merges" not in model or not dropped:
        return {}
    prefix = model.get("continuing_subword_prefix") or ""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    kept = [(a, b) for a, b in pairs if not dropped & {a, b, a + b.removeprefix(prefix)}]
    return {"merges": [list(pair) for pair in kept]}


def _rewrite_post_processor(state: dict[str, Any], added: dict[str, int]) -> dict[str, Any]:
    match state["type"]:
        case "Sequence":
            return {**state, "processors": [_rewrite_post_processor(step, added) for step in state["processors"]]}
        case "TemplateProcessing":
            return {
                **state,
                "special_tokens": {
                    name: {**token, "ids": [added[content] for content in token["tokens"]]}
                    for name, token in state["special_tokens"].items()
                },
            }
        case "BertProcessing" | "RobertaProcessing":
            return {**state, **{end: [state[end][0], added[state[end][0]]] for end in ("sep", "cls")}}
    return state
