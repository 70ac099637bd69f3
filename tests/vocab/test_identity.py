import pytest

from tests.vocab import tokenizers_made_here as made
from vocab.identity import _BYTES, Identity, canonical, read_identities


@pytest.mark.parametrize(
    ("surface", "family"), [("play", "wordpiece"), ("▁play", "sentencepiece"), ("Ġplay", "byte-level")]
)
def test_a_word_start_is_the_same_in_every_family(surface: str, family: str) -> None:
    assert canonical(surface, family) == Identity("start", "play")


@pytest.mark.parametrize(
    ("surface", "family"), [("##ing", "wordpiece"), ("ing", "sentencepiece"), ("ing", "byte-level")]
)
def test_a_continuation_is_the_same_in_every_family(surface: str, family: str) -> None:
    assert canonical(surface, family) == Identity("inside", "ing")


def test_byte_level_tokens_are_read_as_the_text_they_spell() -> None:
    assert canonical("Ġni" + "Ã±" + "o", "byte-level") == Identity("start", "niño")


def test_bytes_that_are_no_text_keep_their_bytes_in_every_family() -> None:
    assert canonical("Ã", "byte-level") == canonical("<0xC3>", "sentencepiece") == Identity("byte", "c3")


def test_a_byte_token_is_not_the_letter_of_that_byte() -> None:
    assert canonical("<0x41>", "sentencepiece") != canonical("A", "sentencepiece")


@pytest.mark.parametrize("sign", [",", "(", "。", "我", "語"])
def test_a_sign_alone_is_the_same_in_every_family(sign: str) -> None:
    bytes_ = "".join(_character_of_byte(byte) for byte in sign.encode())
    alone = [canonical(sign, "wordpiece"), canonical(sign, "sentencepiece"), canonical(bytes_, "byte-level")]
    assert set(alone) == {Identity("sign", sign)}
    assert alone[0].starts_word
    assert canonical(f"##{sign}", "wordpiece") == Identity("inside", sign)
    assert canonical(f"▁{sign}", "sentencepiece") == canonical(f"Ġ{bytes_}", "byte-level") == Identity("start", sign)


@pytest.mark.parametrize("text", ["我们", "です", "は", "ครับ", "ก"])
def test_kana_thai_and_longer_ideographs_start_a_word_only_after_a_space(text: str) -> None:
    assert canonical(text, "wordpiece") == canonical(f"▁{text}", "sentencepiece") == Identity("start", text)
    assert canonical(f"##{text}", "wordpiece") == canonical(text, "sentencepiece") == Identity("inside", text)


def test_a_chinese_sentence_is_all_signs_in_wordpiece_and_bytes() -> None:
    wordpiece, unigram = made.wordpiece(), made.unigram()
    for tokenizer in (wordpiece, unigram):
        read = read_identities("t", tokenizer).identities
        ids = tokenizer("我们在学习语言。", add_special_tokens=False)["input_ids"]
        known = [read[i] for i in ids if read[i] != Identity("special", "unk")]
        assert {i.kind for i in known if i is not None and len(i.text) == 1} <= {"sign"}
        assert known


def _character_of_byte(byte: int) -> str:
    return next(character for character, value in _BYTES.items() if value == byte)


def test_unused_slots_are_dropped_and_roles_are_found_by_name() -> None:
    tokenizer = made.wordpiece(unused=3)
    read = read_identities("t", tokenizer).identities
    assert [read[tokenizer.convert_tokens_to_ids(f"[unused{n}]")] for n in range(3)] == [None] * 3
    assert read[0] == Identity("special", "mask")
    assert sum(identity is None for identity in read) == 3


@pytest.mark.parametrize("match", ["canonical", "surface"])
@pytest.mark.parametrize("family", [made.wordpiece, made.unigram, made.byte_level])
def test_no_two_ids_of_a_teacher_share_an_identity(family, match: str) -> None:
    tokenizer = family()
    tokenizer.add_tokens(["niño", " niño", "e\u0301", "é", "\u00a0x", "<0x41>", "▁"])
    read = [identity for identity in read_identities("t", tokenizer, match).identities if identity is not None]
    assert len(read) == len(set(read))
    assert len(read) >= len(tokenizer) - 3


def test_of_two_equivalent_spellings_the_exact_one_keeps_the_identity() -> None:
    tokenizer = made.wordpiece()
    tokenizer.add_tokens(["zzé"])
    state = {token: number for token, number in tokenizer.get_vocab().items() if token != "zzé"}
    state |= {"zze\u0301": len(state), "zz\u00e9": len(state) + 1}
    from transformers import BertTokenizer

    read = read_identities("t", BertTokenizer(vocab=state, do_lower_case=False))
    assert read.identities[state["zz\u00e9"]] == Identity("start", "zz\u00e9")
    assert read.identities[state["zze\u0301"]].kind == "own"


def test_surface_matching_still_knows_what_starts_a_word() -> None:
    tokenizer = made.unigram()
    by_surface, by_spelling = (read_identities("t", tokenizer, match) for match in ("surface", "canonical"))
    starts = [[i is not None and i.starts_word for i in read.spelled] for read in (by_surface, by_spelling)]
    assert starts[0] == starts[1]
    assert any(starts[0])
