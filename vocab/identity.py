"""What a token is, whatever its tokenizer writes: the text it spells and whether it starts a word.

`##ing`, `ing` without `▁` and `ing` without `Ġ` are one continuation; `play`, `▁play` and `Ġplay` are one word
start. A special token is its role. Bytes that are no text are themselves. In writing without spaces a
WordPiece tokenizer isolates each ideograph, so it starts a word; a SentencePiece piece there mostly continues one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from vocab.load import ROLES

# Slots that were reserved and never used, and entries that only fill a vocabulary up to a round size.
_UNUSED = re.compile(
    r"\[unused_?\d+\]|<unused_?\d+>|unused\d+|<extra_id_\d+>|madeupword\d+|\[PAD_?\d+\]|<pad_?\d+>|<dummy_?\d+>"
    r"|<special_?\d+>|<\|?reserved(?:_special)?(?:_token)?_?\d+\|?>"
)
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

Family = Literal["wordpiece", "sentencepiece", "byte-level", "plain"]


class Identity(NamedTuple):
    """Two tokens are the same one if their identities are equal.

    kind: `special`, `start`, `inside`, `byte`, `own` (nobody else's) or `surface` (`match: surface`); text: what it
    spells, or its bytes in hex; opens: for the last three, whether it starts a word all the same.
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
        return self.kind == "start" or self.opens


@dataclass(frozen=True)
class TeacherVocabulary:
    """identities[i] is what id i of a teacher is; None for an unused slot or a hole.

    spelled[i] is the canonical reading of the id: the same, unless tokens are matched by surface.
    """

    name: str
    identities: tuple[Identity | None, ...]
    spelled: tuple[Identity | None, ...]


def read_identities(name: str, tokenizer: Any, match: str = "canonical") -> TeacherVocabulary:
    """Every id of a tokenizer with its identity. No two ids of a teacher have the same one.

    Where two would, special tokens come first, then what is written exactly so, then what is so only in Unicode
    NFC or only as an added token; the later one gets an identity of its own.
    `match`: `canonical`, or `surface`: the token as its tokenizer writes it (the paper's string union).
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    family, prefix = _family(state)
    roles = {getattr(tokenizer, f"{role}_token_id"): role for role in reversed(ROLES)}
    added = {token["id"]: token["special"] for token in state["added_tokens"]}
    by_id = {**_model_tokens(state["model"]["vocab"]), **{t["id"]: t["content"] for t in state["added_tokens"]}}
    size = max(max(by_id, default=-1) + 1, len(tokenizer))
    claims: tuple[list[tuple[int, Identity, Identity]], ...] = ([], [], [])
    for number, surface in sorted(by_id.items()):
        if number in roles:
            spelled = Identity("special", roles[number])
            claims[0].append((number, spelled, spelled))
        elif not surface or _UNUSED.fullmatch(surface):
            continue
        elif added.get(number):
            spelled = Identity("special", surface)
            claims[0].append((number, spelled, spelled))
        else:
            written = _added(surface) if number in added else canonical(surface, family, prefix)
            spelled = _nfc(written)
            identity = Identity("surface", surface) if match == "surface" else spelled
            claims[2 if number in added or spelled != written else 1].append((number, identity, spelled))
    identities: list[Identity | None] = [None] * size
    readings: list[Identity | None] = [None] * size
    taken: set[Identity] = set()
    for number, identity, spelled in (claim for rank in claims for claim in rank):
        if identity in taken:
            identity = Identity("own", f"{name}:{number}:{by_id[number]}", spelled.starts_word)
            spelled = Identity("own", by_id[number], spelled.starts_word)
        taken.add(identity)
        identities[number], readings[number] = identity, spelled
    return TeacherVocabulary(name, tuple(identities), tuple(readings))


def canonical(surface: str, family: Family, prefix: str = "##") -> Identity:
    """The identity of a token that is not special, from how its family writes it; Unicode is left as it is."""
    match family:
        case "wordpiece":
            inside = prefix != "" and surface.startswith(prefix) and surface != prefix
            return Identity("inside", surface.removeprefix(prefix)) if inside else Identity("start", surface)
        case "sentencepiece":
            byte = _BYTE.fullmatch(surface)
            if byte:
                return Identity("byte", byte[1].lower())
            text = surface.replace("▁", " ")
            return Identity("start", text[1:]) if text.startswith(" ") else Identity("inside", text)
        case "byte-level":
            try:
                raw = bytes(_BYTES[character] for character in surface)
            except KeyError:
                return _added(surface)
            opens = raw.startswith(b" ")
            try:
                return Identity("start" if opens else "inside", raw[opens:].decode())
            except UnicodeDecodeError:
                return Identity("byte", raw[opens:].hex(), opens)
        case "plain":
            return Identity("surface", surface)


def _added(content: str) -> Identity:
    """An added token is matched in the raw text, so there a space is a space."""
    return Identity("start", content[1:]) if content.startswith(" ") else Identity("inside", content)


def _nfc(identity: Identity) -> Identity:
    if identity.kind not in ("start", "inside") or identity.text.isascii():
        return identity
    return identity._replace(text=unicodedata.normalize("NFC", identity.text))


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
