"""Load a teacher's tokenizer from a hub id, a folder or a bare file. Never runs code from it."""

from __future__ import annotations

from logging import ERROR
from pathlib import Path
from typing import Any

from recipe import Teacher, VocabularyError
from vocab.sentencepiece_model import read_sentencepiece

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
    if any((folder / file).exists() for file in ("tokenizer.json", "tokenizer_config.json")):
        return _from_pretrained(str(folder), field, None)
    for file in ("vocab.txt", "vocab.json"):
        if (folder / file).exists():
            return _from_file(folder / file, field)
    found = sorted(folder.glob("*.model"))
    if len(found) == 1:
        return _from_file(found[0], field)
    raise VocabularyError(
        f"{field}: {folder}: has no tokenizer.json, vocab.txt, vocab.json with merges.txt, or single *.model file"
    )


def _from_pretrained(source: str, field: str, revision: str | None) -> Any:
    from huggingface_hub.utils import logging
    from transformers import AutoTokenizer

    # The hub client reports every retry; what the user needs is the one line at the end.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False, use_fast=True)
    except Exception as error:  # the library raises bare Exception for a damaged tokenizer.json
        cause = " ".join(str(error).split())[:300]
        where = "" if Path(source).is_dir() else " is no file or folder here, and as a hub id"
        raise VocabularyError(f"{field}: {source}{where}: no tokenizer can be loaded from it ({cause})") from None
    finally:
        logging.set_verbosity(verbosity)
    if not getattr(tokenizer, "is_fast", False):
        raise VocabularyError(f"{field}: {source}: has only a slow tokenizer; convert it to a tokenizer.json first")
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
        if path.suffix == ".json":
            return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(path)))
    except VocabularyError as error:
        raise VocabularyError(f"{field}: {error}") from None
    except Exception as error:  # tokenizers raises bare Exception
        cause = " ".join(str(error).split())[:300]
        raise VocabularyError(f"{field}: {path}: is damaged or no tokenizer ({cause})") from None
    raise VocabularyError(f"{field}: {path}: is no tokenizer file; accepted: .json, .txt (WordPiece), .model")


def _wordpiece(path: Path) -> Any:
    """A bare `vocab.txt`: lower-casing if no entry has a letter from A to Z (special tokens and unused slots aside)."""
    from transformers import BertTokenizer

    entries = path.read_text(encoding="utf-8-sig").removesuffix("\n").replace("\r\n", "\n").split("\n")
    words = (entry for entry in entries if not (entry.startswith("[") and entry.endswith("]")))
    cased = any("A" <= character <= "Z" for word in words for character in word)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    if len(vocabulary) < len(entries):
        raise VocabularyError(f"{path}: has an entry twice; repair the file, since ids are line numbers")
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
        if token not in vocabulary:
            near = next((f"; did it mean {entry!r}?" for entry in entries if entry.strip("[] ") == token[1:-1]), "")
            raise VocabularyError(f"{path}: has no {token}, so it is no WordPiece vocabulary{near}")
    # Without an entry for it the class would add one, with an id that no model has.
    mask = "[MASK]" if "[MASK]" in vocabulary else None
    return BertTokenizer(vocab=vocabulary, do_lower_case=not cased, mask_token=mask)


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
