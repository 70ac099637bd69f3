"""What a document's text becomes before it is tokenized, its identity, and which documents are held out."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_BREAKS = re.compile(r"[\t\n\r\f\v\x85\u2028\u2029]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufeff]")


def clean(text: str) -> str:
    """Unicode NFC, line breaks and tabs to one space, other control characters out, no space at the ends."""
    text = _CONTROL.sub("", _BREAKS.sub(" ", text))
    return unicodedata.normalize("NFC", text).strip()


def document_id(text: str) -> int:
    """64 bits of BLAKE2b over cleaned text: equal texts are one document, whatever file they came from."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def is_heldout(document: int, share: float) -> bool:
    """Whether a document is kept out of training: a fixed share of the hash space, the same in every run and source."""
    return document < int(share * 2**64)


def shard_of(document: int, shards: int) -> int:
    """The shard of a document; uses other bits of the hash than `is_heldout`, so shards fill evenly."""
    return (document & 0xFFFFFFFF) % shards
