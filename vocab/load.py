"""Load a teacher's tokenizer from a hub id, a folder or a bare file. Never runs code from it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from recipe import Teacher, VocabularyError
from vocab.sentencepiece_model import read_sentencepiece

_LOG = logging.getLogger(__name__)

ROLES = ("pad", "unk", "cls", "sep", "mask")

# What the families write where the tokenizer's own settings do not name a role.
_SPELLINGS = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}


def load_tokenizer(name: str, teacher: Teacher) -> Any:
    """The fast tokenizer (`PreTrainedTokenizerFast`) of a teacher, its special roles filled in where they can be found.

    Raises VocabularyError with the file and the remedy.
    """
    source = teacher.tokenizer or teacher.model
    field = f"teachers.{name}.{'tokenizer' if teacher.tokenizer else 'model'}"
    path = Path(source)
    if path.is_file():
        tokenizer = _from_file(path, field)
    elif path.is_dir():
        tokenizer = _from_folder(path, field)
    elif source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(path.parts[0]).is_dir():
        raise VocabularyError(f"{field}: {source}: no such file or folder")
    else:
        tokenizer = _from_pretrained(source, field, teacher.revision)
    _fill_roles(tokenizer)
    return tokenizer


def require_mask(name: str, teacher: Teacher, tokenizer: Any) -> None:
    """Raise VocabularyError if the tokenizer has no mask token: then its model is no masked LM."""
    if tokenizer.mask_token_id is None:
        raise VocabularyError(
            f"teachers.{name}: the tokenizer of {teacher.tokenizer or teacher.model} has no mask token, so this is no "
            "masked language model; take another teacher, or name the right file in "
            f"teachers.{name}.tokenizer"
        )


def _from_folder(folder: Path, field: str) -> Any:
    if (folder / "tokenizer.json").exists():
        return _from_pretrained(str(folder), field, None)
    if (folder / "tokenizer_config.json").exists():
        listed = (folder / "vocab.txt").exists()
        return _with_word_list(folder, field) if listed else _from_pretrained(str(folder), field, None)
    for file in ("vocab.txt", "vocab.json"):
        if (folder / file).exists():
            return _from_file(folder / file, field)
    found = sorted(folder.glob("*.model"))
    if len(found) == 1:
        return _from_file(found[0], field)
    raise VocabularyError(
        f"{field}: {folder}: has no tokenizer.json, vocab.txt, vocab.json with merges.txt, or single *.model file"
    )


def _with_word_list(folder: Path, field: str) -> Any:
    """A folder with `vocab.txt` and settings: refuses what the library would load though it is damaged."""
    path = folder / "vocab.txt"
    try:
        entries = _word_list(path)
    except VocabularyError as error:
        raise VocabularyError(f"{field}: {error}") from None
    tokenizer = _from_pretrained(str(folder), field, None)
    for role in ROLES:
        token = getattr(tokenizer, f"{role}_token")
        if token is not None and token not in entries:
            # The library adds such a token, with an id that the model has not got.
            raise VocabularyError(
                f"{field}: {path}: has no {token}, which tokenizer_config.json or its class "
                f"({type(tokenizer).__name__}) names as {role}_token{_near(entries, token)}"
            )
    return tokenizer


def _from_pretrained(source: str, field: str, revision: str | None) -> Any:
    from huggingface_hub.utils import logging as hub_logging
    from transformers import AutoTokenizer

    # The hub client reports every retry; what the user needs is the one line at the end.
    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False, use_fast=True)
    except Exception as error:  # the library raises bare Exception for a damaged tokenizer.json
        local = Path(source).is_dir()
        whole = Path(source) / "tokenizer.json"
        where = f"{whole}: " if local and whole.exists() else f"{source}: " if local else ""
        hub = "" if local else f"{source} is no file or folder here, and as a hub id: "
        raise VocabularyError(
            f"{field}: {where}{hub}no tokenizer can be loaded from it: {_cause(error, field)}"
        ) from None
    finally:
        hub_logging.set_verbosity(verbosity)
    if not getattr(tokenizer, "is_fast", False):
        raise VocabularyError(
            f"{field}: {source}: has only a slow tokenizer ({type(tokenizer).__name__}); save it as a tokenizer.json, "
            f"or name one in {field.rsplit('.', 1)[0]}.tokenizer"
        )
    return tokenizer


def _from_file(path: Path, field: str) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        if path.suffix == ".model":
            return PreTrainedTokenizerFast(tokenizer_object=read_sentencepiece(path))
        if path.suffix == ".txt":
            return _wordpiece(path)
        if path.suffix == ".json" and (path.parent / "merges.txt").exists() and path.name == "vocab.json":
            return PreTrainedTokenizerFast(tokenizer_object=_byte_level(path))
        if path.name == "vocab.json":
            raise VocabularyError(f"{path}: has no merges.txt beside it; fetch that too")
        if path.suffix == ".json":
            return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(path)))
    except VocabularyError as error:
        raise VocabularyError(f"{field}: {error}") from None
    except Exception as error:  # tokenizers raises bare Exception
        raise VocabularyError(f"{field}: {path}: no tokenizer can be loaded from it: {_cause(error, field)}") from None
    raise VocabularyError(f"{field}: {path}: is no tokenizer file; accepted: .json, .txt (WordPiece), .model")


def _cause(error: Exception, field: str) -> str:
    """What a library's error means here, in one line with the remedy where that is known."""
    said = " ".join(str(error).split())
    remedy = f"save it as a tokenizer.json, or name one in {field.rsplit('.', 1)[0]}.tokenizer"
    if "trust_remote_code" in said:
        return f"it needs code of its own, which is never run; {remedy}"
    if "connect" in said:
        return "the hub cannot be reached from here; check the connection, or give a local folder"
    if missing := re.search(r"Token `(.*?)` out of vocabulary", said):
        return (
            f"its merges name {missing[1]!r}, which its vocabulary does not have; the two do not belong together: "
            "fetch both again"
        )
    return f"{said[:300]}; fetch it again, or {remedy}"


def _wordpiece(path: Path) -> Any:
    """A bare `vocab.txt`: lower-casing if no entry has a letter from A to Z (special tokens and unused slots aside)."""
    from transformers import BertTokenizer

    entries = _word_list(path)
    words = (entry for entry in entries if not (entry.startswith("[") and entry.endswith("]")))
    cased = any("A" <= character <= "Z" for word in words for character in word)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
        if token not in vocabulary:
            near = _near(entries, token)
            raise VocabularyError(f"{path}: has no {token}, so it is no WordPiece vocabulary{near}")
    if "[MASK]" not in vocabulary and (near := _near(entries, "[MASK]")):
        raise VocabularyError(f"{path}: has no [MASK]{near}")
    # Without an entry for it the class would add one, with an id that no model has.
    mask = "[MASK]" if "[MASK]" in vocabulary else None
    return BertTokenizer(vocab=vocabulary, do_lower_case=not cased, mask_token=mask)


def _near(entries: list[str], token: str) -> str:
    for number, entry in enumerate(entries, 1):
        if entry != token and entry.strip("[]<> ").upper() == token[1:-1]:
            return f"; line {number} is {entry!r}: if that is what it means, write {token} there"
    return ""


def _word_list(path: Path) -> list[str]:
    """The entries of a `vocab.txt`. Ids are line numbers, so nothing in it is skipped or repaired in silence."""
    content = path.read_bytes()
    if content.startswith(b"\xef\xbb\xbf"):
        raise VocabularyError(
            f"{path}: begins with a byte order mark; remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' {path}"
        )
    if b"\r\n" in content:
        raise VocabularyError(f"{path}: has Windows line ends (CRLF); convert them: sed -i 's/\\r$//' {path}")
    try:
        entries = content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise VocabularyError(f"{path}: line {line} is not UTF-8; fetch the file again") from None
    if len(entries) > 1 and not entries[-1]:
        raise VocabularyError(f"{path}: ends with an empty line; delete it, since ids are line numbers")
    first: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        if not entry:
            _LOG.warning(
                "%s: line %d is empty; it is kept as an unused slot, since ids are line numbers: delete it if it was "
                "put in by mistake",
                path,
                number,
            )
        if (before := first.setdefault(entry, number)) != number:
            raise VocabularyError(
                f"{path}: has {entry!r} twice, in lines {before} and {number}; ids are line numbers, so repair the "
                f"file or, where the model was trained with it, write [unused{number}] in the line that it never uses"
            )
    return entries


def _byte_level(path: Path) -> Any:
    """`vocab.json` + `merges.txt` as GPT-2 and RoBERTa have them; RoBERTa's `<s> … </s>` where those tokens exist."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE.from_file(str(path), str(path.parent / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    vocabulary = tokenizer.get_vocab()
    named = [token for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>") if token in vocabulary]
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "<mask>", normalized=False) for token in named])
    if "<s>" in vocabulary and "</s>" in vocabulary:
        tokenizer.post_processor = processors.RobertaProcessing(
            ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), add_prefix_space=False
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _fill_roles(tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    found = {}
    for role in ROLES:
        if getattr(tokenizer, f"{role}_token") is None:
            alias = {"cls": tokenizer.bos_token, "sep": tokenizer.eos_token}.get(role)
            spelling = alias or next((token for token in _SPELLINGS[role] if token in vocabulary), None)
            if spelling is not None:
                found[f"{role}_token"] = spelling
    if found:
        tokenizer.add_special_tokens(found)
