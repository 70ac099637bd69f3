"""What a token is, whatever its tokenizer writes: the text it spells and whether it starts a word.

`##ing`, `ing` without `▁` and `ing` without `Ġ` are one continuation; `play`, `▁play` and `Ġplay` are one word
start. A special token is its role. Bytes that are no text are themselves. In writing without spaces a
WordPiece tokenizer isolates each ideograph, so it starts a word; a SentencePiece piece there mostly continues one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from vocab.load import ROLES

_UNUSED = re.compile(r"^(\[unused\d+\]|<unused_?\d+>|unused\d+|<extra_id_\d+>|madeupword\d+|\[PAD\d+\]|<pad\d+>)$")
_BYTE = re.compile(r"^<0x([0-9A-F]{2})>$")

Family = Literal["wordpiece", "sentencepiece", "byte-level", "plain"]


class Identity(NamedTuple):
    """kind: `special`, `start`, `inside`, `byte` or `own` (nobody else's); text: what it spells, or its hex bytes."""

    kind: str
    text: str

    @property
    def shown(self) -> str:
        """How people see it: `▁` before what starts a word."""
        return "▁" + self.text if self.kind == "start" else self.text

    @property
    def starts_word(self) -> bool:
        return self.kind == "start"


@dataclass(frozen=True)
class TeacherVocabulary:
    """identities[i] is what id i of a teacher is; None for an unused slot or a hole."""

    name: str
    identities: tuple[Identity | None, ...]
    surfaces: tuple[str | None, ...]


def read_identities(name: str, tokenizer: Any, match: str = "canonical") -> TeacherVocabulary:
    """Every id of a tokenizer with its identity. No two ids of a teacher have the same one.

    `match`: `canonical`, or `surface`: the token as its tokenizer writes it (the paper's string union).
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    family, prefix = _family(state)
    roles = {getattr(tokenizer, f"{role}_token_id"): role for role in reversed(ROLES)}
    special = {token["id"]: token["content"] for token in state["added_tokens"] if token["special"]}
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    size = max(by_id, default=-1) + 1
    taken: set[Identity] = set()
    identities: list[Identity | None] = []
    for number in range(size):
        surface = by_id.get(number)
        if surface is None or surface == "" or _UNUSED.match(surface):
            identities.append(None)
            continue
        if number in roles:
            identity = Identity("special", roles[number])
        elif number in special:
            identity = Identity("special", special[number])
        elif match == "surface":
            identity = Identity("surface", surface)
        else:
            identity = canonical(surface, family, prefix)
        if identity in taken:
            identity = Identity("own", f"{name}:{number}:{surface}")
        taken.add(identity)
        identities.append(identity)
    return TeacherVocabulary(name, tuple(identities), tuple(by_id.get(number) for number in range(size)))


def canonical(surface: str, family: Family, prefix: str = "##") -> Identity:
    """The identity of a token that is not special, from how its family writes it."""
    match family:
        case "wordpiece":
            inside = prefix != "" and surface.startswith(prefix) and surface != prefix
            return Identity("inside", surface.removeprefix(prefix)) if inside else Identity("start", surface)
        case "sentencepiece":
            byte = _BYTE.match(surface)
            if byte:
                return Identity("byte", byte[1].lower())
            return Identity("start", surface[1:]) if surface.startswith("▁") else Identity("inside", surface)
        case "byte-level":
            try:
                raw = bytes(_BYTES[character] for character in surface)
            except KeyError:
                return Identity("inside", surface)
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                return Identity("byte", raw.hex())
            return Identity("start", text[1:]) if text.startswith(" ") else Identity("inside", text)
        case "plain":
            return Identity("surface", surface)


def _family(state: dict[str, Any]) -> tuple[Family, str]:
    model = state["model"]
    kind = model.get("type")
    if kind == "WordPiece":
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
