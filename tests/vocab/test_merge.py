import numpy as np
import pytest

from tests.vocab import tokenizers_made_here as made
from vocab.identity import read_identities
from vocab.load import ROLES
from vocab.merge import merge_vocabularies


@pytest.fixture(scope="module")
def teachers():
    return {"wp": made.wordpiece(), "uni": made.unigram(), "bytes": made.byte_level()}


def _merge(teachers, match="canonical"):
    return merge_vocabularies([read_identities(name, tokenizer, match) for name, tokenizer in teachers.items()])


@pytest.mark.parametrize("match", ["canonical", "surface"])
def test_every_remap_is_injective_and_as_long_as_the_vocabulary(teachers, match: str) -> None:
    merged = _merge(teachers, match)
    for name, tokenizer in teachers.items():
        remap = merged.remaps[name]
        kept = remap[remap >= 0]
        assert remap.dtype == np.int32
        assert len(remap) == len(tokenizer)
        assert len(np.unique(kept)) == len(kept)
        assert kept.max() < len(merged.identities)


def test_special_tokens_come_first_and_merge_by_role(teachers) -> None:
    merged = _merge(teachers)
    assert merged.specials == {role: number for number, role in enumerate(ROLES)}
    for name, tokenizer in teachers.items():
        assert [merged.remaps[name][getattr(tokenizer, f"{role}_token_id")] for role in ROLES] == [0, 1, 2, 3, 4]


def test_every_merged_id_belongs_to_a_teacher(teachers) -> None:
    merged = _merge(teachers)
    used = np.unique(np.concatenate([remap[remap >= 0] for remap in merged.remaps.values()]))
    assert used.tolist() == list(range(len(merged.identities)))


def test_a_later_teacher_changes_no_earlier_id(teachers) -> None:
    before = _merge(dict(list(teachers.items())[:2]))
    after = _merge(teachers)
    assert after.identities[: len(before.identities)] == before.identities
    assert all((after.remaps[name] == remap).all() for name, remap in before.remaps.items())


def test_canonical_identity_shares_more_than_spelling(teachers) -> None:
    assert len(_merge(teachers, "canonical").identities) < len(_merge(teachers, "surface").identities)


def test_a_tokenizer_with_both_bos_and_cls_keeps_both() -> None:
    tokenizer = made.wordpiece()
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    remap = _merge({"t": tokenizer}).remaps["t"]
    ids = [remap[i] for i in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)]
    assert ids[1] == ROLES.index("cls")
    assert len(set(ids)) == 3
    assert min(ids) >= 0
