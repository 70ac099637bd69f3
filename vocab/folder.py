"""A tokenizer as the files of a Hugging Face folder, which plain `AutoTokenizer` reads without conversion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from recipe import Workdir

Files = Mapping[str, bytes]

_KEPT = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def settings_of(tokenizer: Any, names: Iterable[str]) -> dict[str, Any]:
    """The settings of a loaded tokenizer that are not in its `tokenizer.json`; names: the tokens still in it."""
    known = set(names)
    settings: dict[str, Any] = {
        f"{role}_token": token
        for role in _KEPT
        if (token := getattr(tokenizer, f"{role}_token")) is not None and token in known
    }
    extra = [str(token) for token in tokenizer.extra_special_tokens if str(token) in known]
    if extra:
        settings["extra_special_tokens"] = extra
    if tokenizer.model_max_length < 10**9:
        settings["model_max_length"] = tokenizer.model_max_length
    return {
        **settings,
        "clean_up_tokenization_spaces": bool(tokenizer.clean_up_tokenization_spaces),
        "model_input_names": list(tokenizer.model_input_names),
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        **({"split_special_tokens": True} if getattr(tokenizer, "split_special_tokens", False) else {}),
    }


def folder_files(document: Mapping[str, Any], settings: Mapping[str, Any]) -> Files:
    """`tokenizer.json` and `tokenizer_config.json`.

    The class named in it loads the former verbatim; a class of one architecture would rebuild part of it.
    """
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    return {
        "tokenizer.json": json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
        "tokenizer_config.json": (json.dumps(config, ensure_ascii=False, indent=1) + "\n").encode(),
    }


def write_folder(workdir: Workdir, relative: str, files: Files) -> None:
    for name, content in files.items():
        workdir.write_bytes(f"{relative}/{name}", content)
