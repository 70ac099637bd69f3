"""A teacher's own tokenizer, made to emit merged ids: same segmentation, same offsets, `len` of the merged size.

Only ids change in its `tokenizer.json`. Merged ids that are not this teacher's are filled with entries that can
never match: they begin with a space, and no model of these families ever looks up a string with a space in it.
The file is written as such, not by way of a tokenizer object: building one takes seconds for a Unigram.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipe import VocabularyError
from vocab.folder import settings_of, tokenizer_files


def rewrite_tokenizer(tokenizer: Any, remap: npt.NDArray[np.int32], shown: Sequence[str]) -> dict[str, bytes]:
    """tokenizer, remap[V], shown[merged size] → files of a tokenizer folder that gives remap[ids] for any text.

    Added tokens whose id is dropped (`<extra_id_0>`) are read as plain text by the result.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["padding"] = state["truncation"] = None
    added = [token for token in state["added_tokens"] if remap[token["id"]] >= 0]
    by_id = {token["content"]: int(remap[token["id"]]) for token in added}
    for token in added:
        token["id"] = by_id[token["content"]]
    state["added_tokens"] = sorted(added, key=lambda token: token["id"])
    state["model"] = _rewrite_model(state["model"], remap, by_id, shown)
    if state["post_processor"] is not None:
        state["post_processor"] = _rewrite_post_processor(state["post_processor"], by_id)
    return tokenizer_files(state, settings_of(tokenizer, by_id))


def _rewrite_model(
    model: dict[str, Any], remap: npt.NDArray[np.int32], added: dict[str, int], shown: Sequence[str]
) -> dict[str, Any]:
    match model["type"]:
        case "Unigram":
            # A hole scores like the worst piece: a lower score would change the price of an unknown character.
            worst = min(score for _, score in model["vocab"])
            pieces = [[_hole(number, text), worst] for number, text in enumerate(shown)]
            for content, number in added.items():
                pieces[number] = [content, worst]
            # Of a piece that is listed twice the last is the one that counts; the others can't be emitted.
            last = {piece: number for number, (piece, _) in enumerate(model["vocab"])}
            for piece, number in last.items():
                if remap[number] >= 0:
                    pieces[remap[number]] = [piece, model["vocab"][number][1]]
            unknown = model["unk_id"]
            return {**model, "vocab": pieces, "unk_id": None if unknown is None else int(remap[unknown])}
        case "WordPiece" | "BPE" | "WordLevel":
            tokens: list[str | None] = [None] * len(shown)
            for content, number in added.items():
                tokens[number] = content
            for token, number in model["vocab"].items():
                if remap[number] >= 0:
                    tokens[remap[number]] = token
            vocabulary = {
                _hole(number, text) if token is None else token: number
                for number, (token, text) in enumerate(zip(tokens, shown, strict=True))
            }
            dropped = {token for token, number in model["vocab"].items() if remap[number] < 0}
            return {**model, "vocab": vocabulary, **_merges(model, dropped)}
    raise VocabularyError(f"tokenizer models of type {model['type']} cannot be merged")


def _merges(model: dict[str, Any], dropped: set[str]) -> dict[str, Any]:
    """The merges of a BPE model less those of dropped tokens, which it would refuse to load."""
    if "merges" not in model or not dropped:
        return {}
    prefix = model.get("continuing_subword_prefix") or ""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    kept = [(a, b) for a, b in pairs if not dropped & {a, b, a + b.removeprefix(prefix)}]
    return {"merges": [list(pair) for pair in kept]}


def _hole(number: int, text: str) -> str:
    """An entry for another teacher's token: shows what it is, and cannot match because of the space."""
    return f" {text} #{number}"


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
