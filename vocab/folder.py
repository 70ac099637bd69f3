"""A tokenizer as the files of a Hugging Face folder, which plain `AutoTokenizer` reads without conversion."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from recipe import Workdir

_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def settings_of(tokenizer: Any, known: Container[str]) -> dict[str, Any]:
    """The settings of a tokenizer that are not in its `tokenizer.json`; known: the tokens that are still in it."""
    named = {f"{name}_token": getattr(tokenizer, f"{name}_token") for name in _NAMED}
    extra = [str(token) for token in tokenizer.extra_special_tokens if str(token) in known]
    return {
        **{name: token for name, token in named.items() if token is not None and token in known},
        **({"extra_special_tokens": extra} if extra else {}),
        **({"model_max_length": tokenizer.model_max_length} if tokenizer.model_max_length < 10**9 else {}),
        "clean_up_tokenization_spaces": bool(tokenizer.clean_up_tokenization_spaces),
        "model_input_names": list(tokenizer.model_input_names),
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
    }


def tokenizer_files(state: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, bytes]:
    """File name → content. The class named is the one that takes `tokenizer.json` verbatim, in every transformers.

    Added tokens are listed in both files: without that transformers reads the large one a second time, in Python.
    """
    added = {
        str(token["id"]): {name: value for name, value in token.items() if name != "id"}
        for token in state["added_tokens"]
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added, **settings}
    return {
        "tokenizer.json": json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode(),
        "tokenizer_config.json": (json.dumps(config, ensure_ascii=False, indent=1) + "\n").encode(),
    }


def write_folder(workdir: Workdir, folder: str, files: Mapping[str, bytes]) -> None:
    """Write the files of a tokenizer into a folder of the working directory."""
    for name, content in files.items():
        workdir.write_bytes(f"{folder}/{name}", content)
