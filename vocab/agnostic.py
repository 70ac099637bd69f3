"""One tokenizer over the whole union, for text of unknown language: greedy WordPiece over canonical tokens.

Words are split at white space and punctuation; a word is cut into the longest tokens that fit, from the left.
It segments otherwise than a Unigram or BPE teacher does: use a language's exact tokenizer where the language is
known (`vocab inspect` says how often the two agree).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from vocab.identity import Identity
from vocab.load import ROLES

_CONTINUES = "##"


def build_agnostic(identities: Sequence[Identity]) -> Any:
    """identities[merged size] → a `PreTrainedTokenizerFast` whose ids are merged ids and whose `len` is the size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [f"[{role.upper()}]" for role in ROLES]
    entries: dict[str, int] = {name: number for number, name in enumerate(names)}
    for number, identity in list(enumerate(identities))[len(ROLES) :]:
        entry = _entry(identity)
        entries[f" {identity.shown} #{number}" if entry is None or entry in entries else entry] = number
    tokenizer = Tokenizer(
        models.WordPiece(entries, unk_token="[UNK]", continuing_subword_prefix=_CONTINUES, max_input_chars_per_word=200)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(_CONTINUES, cleanup=False)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", entries["[CLS]"]), ("[SEP]", entries["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        **{f"{role}_token": name for role, name in zip(ROLES, names, strict=True)},
    )


def _entry(identity: Identity) -> str | None:
    """How WordPiece writes a token; None for what it can never meet: bytes, other special tokens, other white space."""
    text = identity.text
    if identity.kind not in ("start", "inside", "surface") or not text or any(map(str.isspace, text)):
        return None
    if identity.kind == "inside" and not all(unicodedata.category(character)[0] == "P" for character in text):
        return _CONTINUES + text
    # A mark stands alone after the split at punctuation, so there it begins a word whatever it did before.
    return text
