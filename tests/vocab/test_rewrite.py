from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from recipe import Teacher
from recipes.tiny_tokenizer import train_tokenizer
from tests.conftest import SHARED, make_text, needs_shared
from vocab.agnostic import build_agnostic
from vocab.identity import read_identities
from vocab.inspect import sample_documents
from vocab.load import load_tokenizer
from vocab.merge import Merge, merge_vocabularies
from vocab.rewrite import rewrite_tokenizer

FAMILIES = ("wordpiece", "unigram", "byte-bpe")
ODD = [
    "", " ", "\n", "a\u200db", "e\u0301", "שלום עולם", "👩‍👩‍👧 ok", "中文字 ภาษาไทย", "\ue000\ufeff", "x" * 10_000,
    "[MASK] <mask> </s> [CLS] <unk> [PAD] [unused1]", "tab\tand  two   spaces ", "1,234.56%!?—«»",
]  # fmt: skip


@pytest.fixture(scope="module")
def family_tokenizers() -> dict[str, Any]:
    return {family: train_tokenizer(family, make_text("es"), 300) for family in FAMILIES}


@pytest.fixture(scope="module")
def merged(family_tokenizers: dict[str, Any]) -> Merge:
    return merge_vocabularies([read_identities(name, t) for name, t in family_tokenizers.items()])


def shown(merged: Merge) -> list[str]:
    return [identity.shown for identity in merged.identities]


def assert_exact(original: Any, rewritten: Any, remap: Any, texts: list[str]) -> None:
    """Id for id, with offsets, word ids and special tokens."""
    for text in texts:
        expected, found = original(text)._encodings[0], rewritten(text)._encodings[0]
        assert remap[np.array(expected.ids, int)].tolist() == found.ids, text
        assert expected.offsets == found.offsets
        assert expected.word_ids == found.word_ids
        assert expected.special_tokens_mask == found.special_tokens_mask
        assert original.decode(expected.ids) == rewritten.decode(found.ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rewritten_tokenizer_is_exact(
    family: str, family_tokenizers: dict[str, Any], merged: Merge, tmp_path: Path
) -> None:
    original, remap = family_tokenizers[family], merged.remaps[family]
    rewrite_tokenizer(original, remap, shown(merged)).save_pretrained(tmp_path)
    rewritten = AutoTokenizer.from_pretrained(tmp_path)
    assert_exact(original, rewritten, remap, [*ODD, *make_text("es", 50), *make_text("hi", 50)])
    assert len(rewritten) == len(merged.identities)
    for role, number in merged.specials.items():
        assert getattr(rewritten, f"{role}_token_id") == number


@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_rewritten_tokenizer_is_exact_on_any_text(
    text: str, family_tokenizers: dict[str, Any], merged: Merge
) -> None:
    for family, original in family_tokenizers.items():
        rewritten = rewrite_once(family, original, merged)
        assert_exact(original, rewritten, merged.remaps[family], [text])


_REWRITTEN: dict[str, Any] = {}


def rewrite_once(family: str, original: Any, merged: Merge) -> Any:
    if family not in _REWRITTEN:
        _REWRITTEN[family] = rewrite_tokenizer(original, merged.remaps[family], shown(merged))
    return _REWRITTEN[family]


def test_the_agnostic_tokenizer_speaks_merged_ids(merged: Merge, tmp_path: Path) -> None:
    build_agnostic(merged.identities).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == len(merged.identities)
    text = " ".join(make_text("es", 3)[0].split()[:6])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids).replace(" .", ".") == text
    assert tokenizer(f"{text} [MASK]")["input_ids"][-2] == merged.specials["mask"]


@needs_shared
def test_public_vocabularies_stay_exact_on_real_text() -> None:
    names = ["beto", "finbert-cased", "roberta-base", "wiki-tr-sp", "llama2-sp-bpe"]
    tokenizers = {name: load_tokenizer(name, Teacher(model=str(SHARED / "vocabs" / name))) for name in names}
    merged = merge_vocabularies([read_identities(name, t) for name, t in tokenizers.items()])
    texts = ODD + [
        line
        for language in ("es", "fi", "hi", "tr")
        for line in islice(sample_documents((str(SHARED / "text" / f"{language}.txt.zst"),)), 100)
    ]
    for name, original in tokenizers.items():
        remap = merged.remaps[name]
        rewritten = rewrite_tokenizer(original, remap, shown(merged))
        assert len(rewritten) == len(merged.identities)
        assert_exact(original, rewritten, remap, texts)


@needs_shared
@pytest.mark.parametrize(
    ("name", "roles"),
    [("beto", {"mask": 0, "pad": 1}), ("finbert-cased", {"unk": 101, "pad": 0}), ("roberta-base", {"cls": 0, "sep": 2})],
)
def test_special_roles_are_found_not_guessed(name: str, roles: dict[str, int]) -> None:
    tokenizer = load_tokenizer(name, Teacher(model=str(SHARED / "vocabs" / name)))
    assert {role: getattr(tokenizer, f"{role}_token_id") for role in roles} == roles
