"""What a document's text becomes before it is tokenized, its identity, and which documents are held out."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from typing import Any

import regex

from recipe import CorpusError

_BREAKS = re.compile(r"[\t\n\r\f\v\x85\u2028\u2029]+")
_BREAKS_IN_LINE = re.compile(r"[\t\r\f\v\x85\u2028\u2029]+")
_CONTROL_BUT_BREAK = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ufeff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufeff]")


def clean(text: str) -> str:
    """Unicode NFC, line breaks and tabs to one space, other control characters out, no space at the ends."""
    text = _CONTROL.sub("", _BREAKS.sub(" ", text))
    return unicodedata.normalize("NFC", text).strip()


def clean_all(texts: list[str]) -> list[str]:
    """`clean` of each text; all at once where none has a line break inside, which is much cheaper."""
    whole = "\n".join(texts)
    if whole.count("\n") != len(texts) - 1:
        return [clean(text) for text in texts]
    # No character composes with a line break, so texts do not touch each other.
    whole = _CONTROL_BUT_BREAK.sub("", _BREAKS_IN_LINE.sub(" ", whole))
    if not unicodedata.is_normalized("NFC", whole):
        whole = unicodedata.normalize("NFC", whole)
    return [text.strip() for text in whole.split("\n")] if texts else []


def paragraphs(text: str) -> list[str]:
    """The lines of a document, cleaned, without empty ones."""
    return [line for line in map(clean, re.split(r"[\n\r\x85\u2028\u2029]+", text)) if line]


def document_id(text: str) -> int:
    """64 bits of BLAKE2b over cleaned text: equal texts are one document, whatever file they came from."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def is_heldout(document: int, share: float) -> bool:
    """Whether a document is kept out of training: a fixed share of the hash space, the same in every run and source."""
    return document < int(share * 2**64)


def place_of(document: int) -> int:
    """Where a document lies among the shards, 32 bits: other bits of the hash than `is_heldout` looks at."""
    return document & 0xFFFFFFFF


def shard_of(document: int, shards: int) -> int:
    """The shard of a document: shards are equal stretches of the places."""
    return (place_of(document) * shards) >> 32


def script_share(text: str, scripts: tuple[str, ...]) -> float:
    """Share of a text's letters that are in the given Unicode scripts; 1 for a text without letters."""
    letters = len(_LETTERS.findall(text))
    return len(_letters_of(scripts).findall(text)) / letters if letters else 1.0


_LETTERS = regex.compile(r"\p{L}")


@functools.lru_cache(maxsize=8)
def _letters_of(scripts: tuple[str, ...]) -> Any:
    for script in scripts:
        try:
            regex.compile(rf"\p{{Script={script}}}")
        except regex.error:
            raise CorpusError(
                f"sequences.scripts: {script!r} is no Unicode script; write for example Latin, Devanagari, Han"
            ) from None
    either = "".join(rf"\p{{Script={script}}}" for script in scripts)
    return regex.compile(rf"[[{either}]&&\p{{L}}]", regex.V1)
