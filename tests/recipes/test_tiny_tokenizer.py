from pathlib import Path

import pytest
from transformers import AutoTokenizer

from recipes.tiny_tokenizer import train_tokenizer
from tests.conftest import make_text

FRAMES = {"wordpiece": ("[CLS]", "[SEP]", "[MASK]"), "unigram": ("<s>", "</s>", "<mask>")}
FRAMES["byte-bpe"] = FRAMES["unigram"]


@pytest.mark.parametrize("family", FRAMES)
def test_a_family_frames_a_sequence_as_its_models_do_and_survives_saving(family: str, tmp_path: Path) -> None:
    text = make_text("hi")
    tokenizer = train_tokenizer(family, text, 200)
    cls, sep, mask = FRAMES[family]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(f"{text[0]} {mask}")["input_ids"])
    assert (tokens[0], tokens[-1], tokens[-2]) == (cls, sep, mask)
    assert tokenizer.unk_token not in tokens
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (len(again), again.mask_token, again.pad_token) == (len(tokenizer), mask, tokenizer.pad_token)


def test_families_write_a_word_start_differently() -> None:
    text = make_text("es")
    marks = {family: {token[0] for token in train_tokenizer(family, text, 200).get_vocab()} for family in FRAMES}
    assert "▁" in marks["unigram"] - marks["wordpiece"]
    assert "Ġ" in marks["byte-bpe"] - marks["wordpiece"]
