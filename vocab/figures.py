"""Figures of a merged vocabulary: what each teacher brings, what they share, how each language is segmented."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipe import Recipe, Workdir
from vocab.sample import sample_documents
from vocab.store import MergedVocabulary, read_vocabulary


@dataclass(frozen=True)
class TeacherFigures:
    """One teacher: ids of its tokenizer, ids dropped, merged ids that only it has, and some of those that are words."""

    name: str
    size: int
    dropped: int
    only_here: int
    examples: tuple[str, ...]

    @property
    def kept(self) -> int:
        return self.size - self.dropped


@dataclass(frozen=True)
class LanguageFigures:
    """One language on a sample: tokens a word and unknown tokens of both tokenizers, and words cut alike by both."""

    language: str
    words: int
    fertility: float
    fertility_agnostic: float
    unknown: float
    unknown_agnostic: float
    agreement: float


@dataclass(frozen=True)
class VocabularyFigures:
    """Everything that `vocab inspect` shows. shared[a, b]: merged tokens that teachers a and b both have."""

    vocabulary: MergedVocabulary
    teachers: list[TeacherFigures]
    shared: npt.NDArray[np.int64]
    languages: list[LanguageFigures]
    unread: list[str]

    @cached_property
    def overlap(self) -> npt.NDArray[np.float64]:
        """shared as a share of the smaller of the two vocabularies, float64[teachers, teachers]."""
        kept = np.diag(self.shared)
        return np.asarray(self.shared / np.maximum(1, np.minimum(kept[:, None], kept[None, :])))


def figures_of(recipe: Recipe, workdir: Workdir) -> VocabularyFigures:
    """All figures; a language whose corpora cannot be read from here is listed in `unread`."""
    vocabulary = read_vocabulary(workdir, recipe, pruned=False)
    agnostic = load_saved(workdir, "vocab/tokenizer")
    languages, unread = [], []
    for code, language in recipe.languages.items():
        documents = sample_documents(language.corpora, recipe.sequences.text_field)
        if documents:
            exact = load_saved(workdir, f"vocab/tokenizers/{code}")
            languages.append(language_figures(code, exact, agnostic, documents))
        else:
            unread.append(code)
    return VocabularyFigures(vocabulary, teacher_figures(vocabulary), shared_tokens(vocabulary), languages, unread)


def teacher_figures(vocabulary: MergedVocabulary, examples: int = 12) -> list[TeacherFigures]:
    """One record a teacher, in merge order."""
    owners = np.zeros(vocabulary.size, np.int32)
    remaps = {name: vocabulary.remap(name) for name in vocabulary.teachers}
    for remap in remaps.values():
        owners[remap[remap >= 0]] += 1
    tokens = vocabulary.tokens
    found = []
    for name, remap in remaps.items():
        own = remap[remap >= 0]
        own = own[owners[own] == 1]
        words = [tokens[i][1:] for i in own if len(tokens[i]) > 3 and tokens[i][0] == "▁" and tokens[i][1:].isalpha()]
        # From all over the vocabulary, which is sorted by frequency in most tokenizers.
        step = max(1, len(words) // examples)
        dropped = int((remap < 0).sum())
        found.append(TeacherFigures(name, len(remap), dropped, len(own), tuple(words[::step][:examples])))
    return found


def shared_tokens(vocabulary: MergedVocabulary) -> npt.NDArray[np.int64]:
    """How many merged tokens each pair of teachers has in common: int64[teachers, teachers], symmetric."""
    has = np.zeros((len(vocabulary.teachers), vocabulary.size), np.bool_)
    for row, name in zip(has, vocabulary.teachers, strict=True):
        remap = vocabulary.remap(name)
        row[remap[remap >= 0]] = True
    return np.array([(row & has).sum(axis=1) for row in has], np.int64)


def language_figures(language: str, exact: Any, agnostic: Any, documents: list[str]) -> LanguageFigures:
    """Compare a language's exact tokenizer with the language-agnostic one, word by word (words end at white space)."""
    counts = np.zeros(6)
    for ours, theirs in zip(*(words_of(tokenizer, documents) for tokenizer in (exact, agnostic)), strict=True):
        counts += (
            1,
            len(ours),
            len(theirs),
            ours.count(exact.unk_token_id),
            theirs.count(agnostic.unk_token_id),
            ours == theirs,
        )
    words, tokens, tokens_agnostic, unknown, unknown_agnostic, alike = counts.tolist()
    return LanguageFigures(
        language=language,
        words=int(words),
        fertility=tokens / max(words, 1),
        fertility_agnostic=tokens_agnostic / max(words, 1),
        unknown=unknown / max(tokens, 1),
        unknown_agnostic=unknown_agnostic / max(tokens_agnostic, 1),
        agreement=alike / max(words, 1),
    )


def words_of(tokenizer: Any, documents: list[str]) -> list[list[int]]:
    """The ids of each white-space separated word of the documents, as the word is segmented in its sentence.

    A token belongs to the word that holds its last character, so a space counts to the word after it.
    """
    encoded = tokenizer(documents, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    words: list[list[int]] = []
    for document, ids, offsets in zip(documents, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        ends = [match.end() for match in re.finditer(r"\S+", document)]
        found: list[list[int]] = [[] for _ in ends]
        for number, (_, end) in zip(ids, offsets, strict=True):
            if (word := bisect.bisect_left(ends, end)) < len(found):
                found[word].append(number)
        words += found
    return words


def load_saved(workdir: Workdir, folder: str) -> Any:
    """A tokenizer of the working directory, local or not."""
    import tempfile

    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as temporary:
        for name in workdir.sizes(folder):
            (Path(temporary) / name).write_bytes(workdir.read_bytes(f"{folder}/{name}"))
        return AutoTokenizer.from_pretrained(temporary)
