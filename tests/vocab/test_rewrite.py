"""The promise of the room: the rewritten tokenizer gives the remapped ids of the teacher's own, on any text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from benchmarks.exactness import Compared, compare, hostile_text
from recipe import Teacher, Workdir
from tests.vocab import tokenizers_made_here as made
from vocab.agnostic import build_agnostic
from vocab.folder import write_folder
from vocab.identity import read_identities
from vocab.load import ROLES, load_tokenizer
from vocab.merge import merge_vocabularies
from vocab.rewrite import rewrite_tokenizer

DATA = Path(__file__).parents[2].parent / "shared" / "data"


class Merged:
    """Teachers, their rewritten tokenizers as `AutoTokenizer` loads them, and their remaps."""

    def __init__(self, folder: Path, teachers: dict[str, Any]) -> None:
        self.teachers = teachers
        merged = merge_vocabularies([read_identities(*item) for item in teachers.items()])
        self.remaps, self.spelled = merged.remaps, merged.spelled
        workdir = Workdir(str(folder))
        self.exact = {}
        for name, tokenizer in teachers.items():
            write_folder(workdir, name, rewrite_tokenizer(tokenizer, self.remaps[name], len(merged.identities)))
            self.exact[name] = AutoTokenizer.from_pretrained(folder / name)
        self.agnostic = {}
        for construction in ("wordpiece", "unigram"):
            write_folder(workdir, construction, build_agnostic(merged.spelled, merged.remaps, construction))
            self.agnostic[construction] = AutoTokenizer.from_pretrained(folder / construction)

    def check(self, name: str, texts: list[str]) -> None:
        own, exact, remap = self.teachers[name], self.exact[name], self.remaps[name]
        for special in (True, False):
            ours, theirs = (t(texts, add_special_tokens=special, verbose=False) for t in (exact, own))
            assert ours.keys() == theirs.keys()
            for i, text in enumerate(texts):
                assert ours["input_ids"][i] == remap[theirs["input_ids"][i]].tolist(), repr(text)
                assert ours[i].offsets == theirs[i].offsets
                assert ours[i].word_ids == theirs[i].word_ids
                assert exact.decode(ours["input_ids"][i]) == own.decode(theirs["input_ids"][i])


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    folder = tmp_path_factory.mktemp("merged")
    models = {kind: Teacher(model=str(made.sentencepiece_file(folder, kind))) for kind in ("unigram", "bpe")}
    added = made.wordpiece()
    added.add_tokens(["koiramäki", "  "])
    return Merged(
        folder,
        {
            "wordpiece": made.wordpiece(),
            "other-prefix": made.wordpiece(prefix="@@"),
            "lowercase": made.wordpiece(lowercase=True),
            "unigram-json": made.unigram(),
            "byte-level": made.byte_level(),
            "added": added,
            **{f"{kind}-model": load_tokenizer(kind, teacher) for kind, teacher in models.items()},
        },
    )


NAMES = ["wordpiece", "other-prefix", "lowercase", "unigram-json", "byte-level", "added", "unigram-model", "bpe-model"]


@pytest.mark.parametrize("name", NAMES)
def test_ids_offsets_words_and_text_are_the_teachers(merged: Merged, name: str) -> None:
    merged.check(name, [*made.SENTENCES[:6], *made.HARD, "koiramäki on koiramäkiä"])


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60), name=st.sampled_from(NAMES))
def test_ids_are_the_teachers_on_any_text(merged: Merged, text: str, name: str) -> None:
    merged.check(name, [text])


_HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\u200d\u200c\ufe0f\n\r\t\0\u202e▁Ġ# [<]>"),
        st.characters(categories=["Mn", "Mc", "Co", "So", "Cf", "Lo"]),
        st.characters(min_codepoint=0x590, max_codepoint=0x6FF),
        st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(text=_HOSTILE, name=st.sampled_from(NAMES))
def test_ids_are_the_teachers_on_emoji_joiners_marks_and_private_use(merged: Merged, text: str, name: str) -> None:
    merged.check(name, [text])


@pytest.mark.parametrize("name", NAMES)
def test_the_proof_of_docs_vocabulary_in_small(merged: Merged, name: str) -> None:
    found = Compared()
    backends = (tokenizer.backend_tokenizer for tokenizer in (merged.teachers[name], merged.exact[name]))
    compare(*backends, merged.remaps[name], [*made.SENTENCES[:6], *hostile_text(150)], found)
    assert (found.lines, found.differences, found.unmapped) == (164, 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_length_and_special_tokens_are_the_merged_ones(merged: Merged, name: str) -> None:
    exact = merged.exact[name]
    assert len(exact) == len(merged.spelled) == max(exact.get_vocab().values()) + 1
    assert [getattr(exact, f"{role}_token_id") for role in ROLES] == [0, 1, 2, 3, 4]


def test_another_continuation_prefix_makes_no_other_tokens(merged: Merged) -> None:
    own, other = (merged.teachers[name].get_vocab() for name in ("wordpiece", "other-prefix"))
    shared = [token for token in own if token.startswith("##") and token.replace("##", "@@", 1) in other]
    assert len(shared) > 20
    for token in shared:
        same = merged.remaps["other-prefix"][other[token.replace("##", "@@", 1)]]
        assert merged.remaps["wordpiece"][own[token]] == same


@pytest.mark.parametrize("construction", ["wordpiece", "unigram"])
def test_the_agnostic_tokenizer_covers_the_union(merged: Merged, construction: str) -> None:
    tokenizer = merged.agnostic[construction]
    assert len(tokenizer) == len(merged.spelled)
    assert [getattr(tokenizer, f"{role}_token_id") for role in ROLES] == [0, 1, 2, 3, 4]
    ids = tokenizer(made.SENTENCES[1])["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ;", ";") == made.SENTENCES[1]


@pytest.mark.parametrize("construction", ["wordpiece", "unigram"])
def test_the_agnostic_tokenizer_gives_a_known_word_its_merged_id(merged: Merged, construction: str) -> None:
    word = next(i for i, identity in enumerate(merged.spelled) if identity == ("start", "metsä", False))
    assert merged.agnostic[construction]("metsä", add_special_tokens=False)["input_ids"] == [word]


def test_a_piece_listed_twice_is_emitted_once(tmp_path: Path) -> None:
    import json

    from tokenizers import Tokenizer

    tokenizer = made.unigram()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["vocab"].append(state["model"]["vocab"][60])
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    both = Merged(tmp_path, {"first": made.wordpiece(), "twice": tokenizer})
    both.check("twice", list(made.SENTENCES[:6]))


@pytest.mark.parametrize(
    "name", ["beto", "finbert-cased", "bert-base-uncased", "wiki-tr-sp", "roberta-base", "koelectra-ko"]
)
def test_public_vocabularies_are_exact_on_real_lines(tmp_path: Path, name: str) -> None:
    if not DATA.is_dir():
        pytest.skip("the shared data is not beside the repository")
    zstandard = pytest.importorskip("zstandard")
    lines = []
    for path in sorted((DATA / "text").glob("*.zst")):
        with path.open("rb") as stream:
            text = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stream), encoding="utf-8")
            lines += [next(text).rstrip("\n") for _ in range(60)]
    teachers = {
        each: load_tokenizer(each, Teacher(model=str(DATA / "vocabs" / each))) for each in ("bert-base-chinese", name)
    }
    public = Merged(tmp_path, teachers)
    public.check(name, [*lines, *made.HARD])
    remap = public.remaps[name]
    assert [remap[getattr(teachers[name], f"{role}_token_id")] for role in ROLES] == [0, 1, 2, 3, 4]
    assert len(np.unique(remap[remap >= 0])) == (remap >= 0).sum()
