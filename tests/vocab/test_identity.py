import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocab.identity import _BYTES, Identity, TeacherVocabulary, canonical
from vocab.merge import merge_vocabularies


@pytest.mark.parametrize(
    ("wordpiece", "sentencepiece", "byte_level"),
    [("play", "▁play", "Ġplay"), ("##ing", "ing", "ing"), ("ñu", "▁ñu", "ĠÃ±u")],
)
def test_one_token_in_three_families_is_one_identity(wordpiece: str, sentencepiece: str, byte_level: str) -> None:
    found = {
        canonical(wordpiece, "wordpiece"),
        canonical(sentencepiece, "sentencepiece"),
        canonical(byte_level, "byte-level"),
    }
    assert len(found) == 1


def test_a_word_start_is_no_continuation() -> None:
    assert canonical("ing", "wordpiece") != canonical("##ing", "wordpiece")


def test_bytes_that_are_no_text_keep_their_bytes() -> None:
    assert canonical("Ã", "byte-level") == Identity("byte", "c3") == canonical("<0xC3>", "sentencepiece")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_byte_level_spelling_is_undone(text: str) -> None:
    stand_in = {byte: character for character, byte in _BYTES.items()}
    identity = canonical("".join(stand_in[byte] for byte in text.encode()), "byte-level")
    assert ("" if identity.kind == "inside" else " ") + identity.text == text


identities = st.one_of(
    st.none(), st.builds(Identity, st.sampled_from(["start", "inside", "byte", "special"]), st.text(max_size=2))
)


@given(st.lists(st.lists(identities, unique_by=lambda i: i or object()), min_size=1, max_size=4))
def test_remaps_are_injective_total_and_stable(vocabularies: list[list[Identity | None]]) -> None:
    teachers = [
        TeacherVocabulary(f"t{number}", tuple(found), tuple("x" for _ in found))
        for number, found in enumerate(vocabularies)
    ]
    merged = merge_vocabularies(teachers)
    for teacher in teachers:
        remap = merged.remaps[teacher.name]
        kept = remap[remap >= 0]
        assert len(set(kept.tolist())) == len(kept)
        for number, identity in enumerate(teacher.identities):
            if identity is None:
                assert remap[number] == -1
            else:
                assert merged.identities[remap[number]] == identity
    again = merge_vocabularies(teachers)
    assert again.identities == merged.identities
    first = merge_vocabularies(teachers[:1])
    assert merged.identities[: len(first.identities)] == first.identities
