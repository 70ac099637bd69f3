"""What a token is, whatever its tokenizer writes: the text it spells and whether it starts a word.

`##ing`, `ing` without `▁` and `ing` without `Ġ` are one continuation; `play`, `▁play` and `Ġplay` one word start.
A *sign* is one character that BERT's tokenizer sets apart wherever it stands: punctuation and ideographs. Alone it is
the same token in every family; `▁(` and `##(` are others. A special token is its role. Bytes that are no text are
themselves. docs/vocabulary.md says what this means for writing without spaces.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from recipe.collector import collector_off
from vocab.load import ROLES

# Slots that were reserved and never used, and entries that only fill a vocabulary up to a round size.
_UNUSED = re.compile(
    r"\[unused_?\d+\]|<unused_?\d+>|unused\d+|<extra_id_\d+>|madeupword\d+|\[PAD_?\d+\]|<pad_?\d+>|<dummy_?\d+>"
    r"|<special_?\d+>|<\|?reserved(?:_special)?(?:_token)?_?\d+\|?>"
)
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2CEAF), (0x2F800, 0x2FA1F))

Family = Literal["wordpiece", "sentencepiece", "byte-level", "plain"]


class Identity(NamedTuple):
    """Two tokens are the same one if their identities are equal.

    kind: `special`, `start`, `inside`, `sign`, `byte`, `own` (nobody else's) or `surface` (`match: surface`); text:
    what it spells, or its bytes in hex; opens: for the last three, whether it starts a word all the same.
    """

    kind: str
    text: str
    opens: bool = False

    @property
    def shown(self) -> str:
        """How people see it: `▁` before what starts a word."""
        if self.kind == "byte":
            bytes_ = (self.text[at : at + 2].upper() for at in range(0, len(self.text), 2))
            return "▁" * self.opens + "".join(f"<0x{byte}>" for byte in bytes_)
        return "▁" + self.text if self.kind == "start" else self.text

    @property
    def starts_word(self) -> bool:
        return self.opens or self.kind in ("start", "sign")


@dataclass(frozen=True)
class TeacherVocabulary:
    """identities[i] is what id i of a teacher is; None for an unused slot or a hole.

    spelled[i] is the canonical reading of the id: the same, unless tokens are matched by surface.
    """

    name: str
    family: Family
    identities: tuple[Identity | None, ...]
    spelled: tuple[Identity | None, ...]


def read_identities(name: str, tokenizer: Any, match: str = "canonical") -> TeacherVocabulary:
    """Every id of a tokenizer with its identity. No two ids of a teacher have the same one.

    Where two would, special tokens come first, then what is written exactly so, then what is so only in Unicode
    NFC or only as an added token; the later one gets an identity of its own.
    `match`: `canonical`, or `surface`: the token as its tokenizer writes it (the paper's string union).
    """
    with collector_off():
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        return _read(name, state, tokenizer, match)


def _read(name: str, state: dict[str, Any], tokenizer: Any, match: str) -> TeacherVocabulary:
    roles = {getattr(tokenizer, f"{role}_token_id"): role for role in reversed(ROLES)}
    added = {token["id"]: token for token in state["added_tokens"]}
    by_id = _model_tokens(state["model"]["vocab"]) | {number: token["content"] for number, token in added.items()}
    size = max(max(by_id, default=-1) + 1, len(tokenizer))
    first: list[tuple[int, Identity]] = []
    exact: list[tuple[int, Identity]] = []
    other: list[tuple[int, Identity]] = []
    family, prefix = _family(state)
    read = _reader(family, prefix)
    for number, surface in by_id.items():
        if number in roles:
            first.append((number, Identity("special", roles[number])))
        elif not surface or (not surface.isalpha() and _UNUSED.fullmatch(surface)):
            continue
        elif number in added:
            special = added[number]["special"]
            claim = (number, Identity("special", surface) if special else _nfc(_added(surface)))
            (first if special else other).append(claim)
        else:
            written = read(surface)
            spelled = _nfc(written)
            (exact if spelled is written else other).append((number, spelled))
    identities: list[Identity | None] = [None] * size
    readings: list[Identity | None] = [None] * size
    taken: set[Identity] = set()
    for rank in (first, exact, other):
        for number, spelled in sorted(rank):
            identity = spelled
            if match == "surface" and spelled.kind != "special":
                identity = Identity("surface", by_id[number])
            if identity in taken:
                identity = Identity("own", f"{name}:{number}:{by_id[number]}", spelled.starts_word)
                spelled = Identity("own", by_id[number], spelled.starts_word)
            taken.add(identity)
            identities[number], readings[number] = identity, spelled
    return TeacherVocabulary(name, family, tuple(identities), tuple(readings))


def canonical(surface: str, family: Family, prefix: str = "##") -> Identity:
    """The identity of a token that is not special, from how its family writes it; Unicode is left as it is."""
    return _reader(family, prefix)(surface)


def is_sign(text: str) -> bool:
    """Whether BERT's rule makes a word of this character: punctuation, any ASCII sign, ideographs."""
    if len(text) != 1:
        return False
    if text.isascii():
        return text.isprintable() and not text.isalnum() and text != " "
    return unicodedata.category(text)[0] == "P" or any(low <= ord(text) <= high for low, high in _IDEOGRAPHS)


def _reader(family: Family, prefix: str) -> Callable[[str], Identity]:
    match family:
        case "wordpiece":
            return lambda surface: _wordpiece(surface, prefix)
        case "sentencepiece":
            return _sentencepiece
        case "byte-level":
            return _byte_level
        case "plain":
            return lambda surface: Identity("surface", surface)


def _wordpiece(surface: str, prefix: str) -> Identity:
    if prefix and surface.startswith(prefix) and surface != prefix:
        return Identity("inside", surface[len(prefix) :])
    return Identity("sign" if is_sign(surface) else "start", surface)


def _sentencepiece(surface: str) -> Identity:
    byte = _BYTE.fullmatch(surface)
    return Identity("byte", byte[1].lower()) if byte else _text(surface.replace("▁", " "))


def _byte_level(surface: str) -> Identity:
    try:
        raw = bytes([_BYTES[character] for character in surface])
    except KeyError:
        return _added(surface)
    try:
        return _text(raw.decode())
    except UnicodeDecodeError:
        opens = raw.startswith(b" ")
        return Identity("byte", raw[opens:].hex(), opens)


def _text(text: str) -> Identity:
    if text.startswith(" "):
        return Identity("start", text[1:])
    return Identity("sign" if is_sign(text) else "inside", text)


# An added token is matched in the raw text, so there a space is a space.
_added = _text


def _nfc(identity: Identity) -> Identity:
    """The identity itself where its text is in Unicode NFC already."""
    kind, text, _ = identity
    if text.isascii() or kind not in ("start", "inside", "sign") or unicodedata.is_normalized("NFC", text):
        return identity
    return Identity(kind, unicodedata.normalize("NFC", text))


def _model_tokens(vocabulary: Any) -> dict[int, str]:
    if isinstance(vocabulary, dict):
        return {number: token for token, number in vocabulary.items()}
    return {number: token for number, (token, _) in enumerate(vocabulary)}


def _family(state: dict[str, Any]) -> tuple[Family, str]:
    model = state["model"]
    kind = model.get("type")
    if kind == "WordPiece" or model.get("continuing_subword_prefix"):
        return "wordpiece", str(model["continuing_subword_prefix"])
    around = json.dumps([state["pre_tokenizer"], state["normalizer"], state["decoder"]], ensure_ascii=False)
    if '"ByteLevel"' in around:
        return "byte-level", ""
    if kind == "Unigram" or "▁" in around:
        return "sentencepiece", ""
    return "plain", ""


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte, inverted (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_characters()
