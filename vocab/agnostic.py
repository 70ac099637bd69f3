"""One tokenizer over the whole union, for text of unknown language.

Two constructions, and the teachers choose: greedy WordPiece over canonical tokens where at least half of them are
WordPiece, otherwise a Unigram whose scores follow the tokens' ranks in their teachers' vocabularies (which are sorted
by frequency, so no corpus is needed). docs/vocabulary.md has the figures behind this. Neither segments exactly as a
teacher does: use a language's exact tokenizer where the language is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vocab.folder import tokenizer_files
from vocab.identity import Identity, TeacherVocabulary, is_sign
from vocab.load import ROLES

Construction = Literal["wordpiece", "unigram"]

_CONTINUES = "##"
_NAMES = tuple(f"[{role.upper()}]" for role in ROLES)


def choose_construction(teachers: Sequence[TeacherVocabulary]) -> Construction:
    """WordPiece if at least half of the teachers are."""
    return "wordpiece" if 2 * sum(each.family == "wordpiece" for each in teachers) >= len(teachers) else "unigram"


def build_agnostic(
    spelled: Sequence[Identity],
    remaps: Mapping[str, npt.NDArray[np.int32]],
    construction: Construction,
    lowercase: bool = False,
) -> dict[str, bytes]:
    """spelled[merged size], remaps[teacher] → files of a tokenizer folder with merged ids, `len` the merged size.

    `lowercase`: for teachers that all do so. A word with a character that no token covers is unknown in whole
    (WordPiece) or in that character (Unigram, where the teachers have no bytes to fall back on).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    if construction == "wordpiece":
        entries = _entries(spelled, _wordpiece_entry)
        vocabulary = {entry: number for number, entry in enumerate(entries)}
        tokenizer = Tokenizer(
            models.WordPiece(
                vocabulary, unk_token="[UNK]", continuing_subword_prefix=_CONTINUES, max_input_chars_per_word=200
            )
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(_CONTINUES, cleanup=True)
    else:
        entries = _entries(spelled, _unigram_entry)
        scores = _scores(len(spelled), remaps)
        pieces = list(zip(entries, scores.tolist(), strict=True))
        tokenizer = Tokenizer(models.Unigram(pieces, ROLES.index("unk"), byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    clean = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False, handle_chinese_chars=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), clean])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in _NAMES])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", ROLES.index("cls")), ("[SEP]", ROLES.index("sep"))],
    )
    settings = {
        **{f"{role}_token": name for role, name in zip(ROLES, _NAMES, strict=True)},
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return tokenizer_files(json.loads(tokenizer.to_str()), settings)


def lower_cases(tokenizer: Any) -> bool:
    """Whether a tokenizer lower-cases text, by what it does to a word."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is not None and "ABC" not in normalizer.normalize_str("ABC")


def _entries(spelled: Sequence[Identity], write: Any) -> list[str]:
    """How the construction writes each token; one it can never meet gets an entry that only shows it."""
    entries: list[str | None] = [*_NAMES, *map(write, spelled[len(_NAMES) :])]
    taken: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if entry is not None:
            taken.setdefault(entry, number)
    return [
        entry if entry is not None and taken[entry] == number else f" {spelled[number].shown} #{number}"
        for number, entry in enumerate(entries)
    ]


def _wordpiece_entry(identity: Identity) -> str | None:
    kind, text, _ = identity
    if kind not in ("start", "inside", "sign") or not text or any(map(str.isspace, text)):
        return None
    if is_sign(text):
        # BERT's rule sets a sign apart, so what is before it cannot be known here.
        return text if kind == "sign" else None
    return text if kind == "start" else _CONTINUES + text


def _unigram_entry(identity: Identity) -> str | None:
    kind, text, opens = identity
    if kind == "byte" and len(text) == 2 and not opens:
        return f"<0x{text.upper()}>"
    if kind not in ("start", "inside", "sign") or not text or any(map(str.isspace, text)):
        return None
    return "▁" + text if kind == "start" else text


def _scores(size: int, remaps: Mapping[str, npt.NDArray[np.int32]]) -> npt.NDArray[np.float64]:
    """float64[size]: log-probability by Zipf's law, from an id's best rank in any teacher's vocabulary."""
    ranks = np.full(size, 10**7)
    for remap in remaps.values():
        kept = np.flatnonzero(remap >= 0)
        np.minimum.at(ranks, remap[kept], kept)
    weights = 1.0 / (ranks + 20.0)
    return np.asarray(np.log(weights / weights.sum()))
