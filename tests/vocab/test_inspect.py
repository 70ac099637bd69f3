from tests.vocab import tokenizers_made_here as made
from vocab.figures import language_figures, words_of

TEXTS = [*made.SENTENCES[:6], "  two  spaces ", ""]


def test_every_token_belongs_to_one_word_of_every_family() -> None:
    for tokenizer in (made.wordpiece(), made.unigram(), made.byte_level()):
        words = words_of(tokenizer, TEXTS[:6])
        assert len(words) == sum(len(text.split()) for text in TEXTS[:6])
        whole = tokenizer(TEXTS[:6], add_special_tokens=False)["input_ids"]
        assert [i for word in words for i in word] == [i for ids in whole for i in ids]


def test_a_tokenizer_agrees_with_itself() -> None:
    tokenizer = made.unigram()
    figures = language_figures("fi", tokenizer, tokenizer, TEXTS)
    assert figures.agreement == 1.0
    assert figures.fertility == figures.fertility_agnostic >= 1.0
