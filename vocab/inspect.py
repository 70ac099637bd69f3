"""Figures of a merged vocabulary: what each teacher brings, what they share, how each language is segmented."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipe import CorpusError, Recipe, Workdir
from vocab.store import MergedVocabulary, read_vocabulary

_SAMPLE_DOCUMENTS = 500


@dataclass(frozen=True)
class TeacherFigures:
    """One teacher: ids of its tokenizer, ids dropped, merged ids that only it has."""

    name: str
    size: int
    dropped: int
    only_here: int


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


def teacher_figures(vocabulary: MergedVocabulary) -> list[TeacherFigures]:
    """One record a teacher, in merge order."""
    owners = np.zeros(vocabulary.size, np.int32)
    remaps = {name: vocabulary.remap(name) for name in vocabulary.teachers}
    for remap in remaps.values():
        owners[remap[remap >= 0]] += 1
    return [
        TeacherFigures(name, len(remap), int((remap < 0).sum()), int((owners[remap[remap >= 0]] == 1).sum()))
        for name, remap in remaps.items()
    ]


def shared_tokens(vocabulary: MergedVocabulary) -> dict[tuple[str, str], int]:
    """How many merged tokens each pair of teachers has in common."""
    sets = {name: set(remap[remap >= 0].tolist()) for name in vocabulary.teachers for remap in [vocabulary.remap(name)]}
    return {(a, b): len(sets[a] & sets[b]) for a, b in itertools.combinations(sets, 2)}


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
    words, tokens, tokens_agnostic, unknown, unknown_agnostic, alike = counts
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


def inspect(recipe: Recipe, workdir: Workdir, sample: dict[str, list[str]]) -> Iterator[str]:
    """The figures as lines of text. `sample[language]` is some documents, or empty where there are none to read."""
    vocabulary = read_vocabulary(workdir, recipe)
    yield f"{vocabulary.size:,} merged tokens, fingerprint {vocabulary.fingerprint[:12]}"
    yield ""
    yield f"{'teacher':20} {'tokens':>9} {'dropped':>9} {'only here':>10}"
    for f in teacher_figures(vocabulary):
        yield f"{f.name:20} {f.size:9,} {f.dropped:9,} {f.only_here:10,}"
    pairs = shared_tokens(vocabulary)
    if pairs:
        yield ""
        yield f"{'shared by':41} {'tokens':>9}"
        yield from (f"{a:20} {b:20} {count:9,}" for (a, b), count in pairs.items())
    yield ""
    columns = f"{'tokens a word':>14} {'agnostic':>9} {'unknown':>9} {'agnostic':>9} {'agree':>7}"
    yield f"{'language':10} {'words':>8} {columns}"
    agnostic = load_saved(workdir, "vocab/tokenizer")
    for language in recipe.languages:
        documents = sample.get(language, [])
        if not documents:
            yield f"{language:10} its corpora cannot be read from here"
            continue
        f_ = language_figures(language, load_saved(workdir, f"vocab/tokenizers/{language}"), agnostic, documents)
        yield (
            f"{language:10} {f_.words:8,} {f_.fertility:14.2f} {f_.fertility_agnostic:9.2f} {100 * f_.unknown:7.2f} % "
            f"{100 * f_.unknown_agnostic:7.2f} % {100 * f_.agreement:5.1f} %"
        )


def load_saved(workdir: Workdir, folder: str) -> Any:
    """A tokenizer of the working directory, local or not."""
    import tempfile

    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as temporary:
        for name in workdir.sizes(folder):
            (Path(temporary) / name).write_bytes(workdir.read_bytes(f"{folder}/{name}"))
        return AutoTokenizer.from_pretrained(temporary)


def sample_documents(corpora: tuple[str, ...]) -> list[str]:
    """The first lines of a language's first plain or compressed text corpus; none where that cannot be read."""
    import fsspec

    lines: list[str] = []
    for url in corpora:
        try:
            with fsspec.open_files(url, "rt", encoding="utf-8", errors="replace", compression="infer")[0] as stream:
                lines = [line.strip() for line, _ in zip(stream, range(_SAMPLE_DOCUMENTS), strict=False)]
        except (OSError, ValueError, ImportError, IndexError, CorpusError):
            continue
        break
    return lines
