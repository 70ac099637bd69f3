"""One tokenizer over the whole union, for text of unknown language: greedy WordPiece over canonical tokens.

Words are split at white space, punctuation and ideographs; a word is cut into the longest tokens that fit, from the
left. It segments otherwise than a Unigram or BPE teacher does: use a language's exact tokenizer where the language
is known (`vocab inspect` says how often the two agree).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

from vocab.folder import tokenizer_files
from vocab.identity import Identity
from vocab.load import ROLES

_CONTINUES = "##"
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2CEAF), (0x2F800, 0x2FA1F))


def build_agnostic(spelled: Sequence[Identity], lowercase: bool = False) -> dict[str, bytes]:
    """spelled[merged size] → files of a tokenizer folder whose ids are merged ids and whose `len` is the size.

    `lowercase`: for teachers that all do so. A character that is in no token makes its word unknown.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    names = [f"[{role.upper()}]" for role in ROLES]
    entries = {entry: number for number, entry in enumerate(_entries(names, spelled))}
    tokenizer = Tokenizer(
        models.WordPiece(entries, unk_token="[UNK]", continuing_subword_prefix=_CONTINUES, max_input_chars_per_word=200)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False, handle_chinese_chars=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(_CONTINUES, cleanup=True)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", entries["[CLS]"]), ("[SEP]", entries["[SEP]"])],
    )
    settings = {
        **{f"{role}_token": name for role, name in zip(ROLES, names, strict=True)},
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return tokenizer_files(json.loads(tokenizer.to_str()), settings)


def _entries(names: Sequence[str], spelled: Sequence[Identity]) -> list[str]:
    """How WordPiece writes each token; one it can never meet gets an entry that only shows it."""
    entries: list[str | None] = [*names, *(_entry(identity) for identity in spelled[len(names) :])]
    taken: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if entry is not None:
            taken.setdefault(entry, number)
    for number, identity in enumerate(spelled):
        # A sign that always stands alone begins a word here whatever it did before, if no token already does.
        if identity.kind == "inside" and _stands_alone(identity.text):
            taken.setdefault(identity.text, number)
            entries[number] = identity.text
    return [
        entry if entry is not None and taken[entry] == number else f" {spelled[number].shown} #{number}"
        for number, entry in enumerate(entries)
    ]


def lower_cases(tokenizer: Any) -> bool:
    """Whether a tokenizer lower-cases text, by what it does to a word."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is not None and "ABC" not in normalizer.normalize_str("ABC")


def _entry(identity: Identity) -> str | None:
    text = identity.text
    if identity.kind not in ("start", "inside") or not text or any(map(str.isspace, text)):
        return None
    if identity.kind == "start":
        return text
    return None if _stands_alone(text) else _CONTINUES + text


def _stands_alone(text: str) -> bool:
    """Whether BERT's rule makes a word of a character: punctuation, any ASCII sign, ideographs."""
    if len(text) != 1:
        return False
    if text.isascii():
        return text.isprintable() and not text.isalnum() and text != " "
    return unicodedata.category(text)[0] == "P" or any(low <= ord(text) <= high for low, high in _IDEOGRAPHS)
