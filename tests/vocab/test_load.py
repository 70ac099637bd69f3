from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipe import Teacher, VocabularyError
from tests.vocab import tokenizers_made_here as made
from vocab.load import load_tokenizer, require_mask

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "vocabs"

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"]


def _load(path: Path):
    return load_tokenizer("t", Teacher(model=str(path)))


def _vocab_txt(folder: Path, entries: list[str], end: str = "\n") -> Path:
    path = folder / "vocab.txt"
    path.write_bytes((end.join(entries) + end).encode())
    return path


def test_a_folder_and_its_bare_file_load_the_same(tmp_path: Path) -> None:
    path = _vocab_txt(tmp_path, VOCAB)
    assert _load(path)("playing")["input_ids"] == _load(tmp_path)("playing")["input_ids"] == [2, 5, 6, 3]


def test_windows_line_ends_change_no_entry(tmp_path: Path) -> None:
    assert _load(_vocab_txt(tmp_path, VOCAB, "\r\n")).get_vocab() == {entry: i for i, entry in enumerate(VOCAB)}


@pytest.mark.parametrize(("entries", "cased"), [(VOCAB, False), ([*VOCAB, "Play"], True)])
def test_a_bare_vocabulary_lower_cases_unless_it_has_capitals(tmp_path: Path, entries: list[str], cased: bool) -> None:
    ids = _load(_vocab_txt(tmp_path, entries))("Play", add_special_tokens=False)["input_ids"]
    assert ids == ([7] if cased else [5])


def test_casing_follows_the_tokenizer_config_where_there_is_one(tmp_path: Path) -> None:
    _vocab_txt(tmp_path, VOCAB)
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = _load(tmp_path)
    assert len(tokenizer) == len(VOCAB)
    assert tokenizer("Play", add_special_tokens=False)["input_ids"] == [1]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_bare_sentencepiece_model_segments_as_sentencepiece_does(tmp_path: Path, kind: str) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    path = made.sentencepiece_file(tmp_path, kind)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = _load(path)
    for sentence in made.SENTENCES[:6]:
        assert tokenizer(sentence, add_special_tokens=False)["input_ids"] == processor.encode(sentence)


def test_vocab_and_merges_load_as_byte_level(tmp_path: Path) -> None:
    made.byte_level().backend_tokenizer.model.save(str(tmp_path))
    tokenizer = _load(tmp_path)
    assert tokenizer("El niño")["input_ids"] == made.byte_level()("El niño")["input_ids"]
    assert tokenizer.mask_token == "<mask>"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([*VOCAB, "play"], "twice"),
        ([entry for entry in VOCAB if entry != "[UNK]"], r"\[UNK\]"),
        (["[PAD", *VOCAB[1:]], r"did it mean '\[PAD'"),
        ([*VOCAB[:4], "[MASK", *VOCAB[5:]], "no mask token"),
    ],
)
def test_a_damaged_word_list_is_refused_in_one_line(tmp_path: Path, entries: list[str], words: str) -> None:
    path = _vocab_txt(tmp_path, entries)
    with pytest.raises(VocabularyError, match=words) as caught:
        require_mask("t", Teacher(model=str(path)), _load(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_truncated_sentencepiece_model_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = made.sentencepiece_file(tmp_path, kind)
    whole = path.read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(VocabularyError, match=r"\.model") as caught:
            _load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", "{"), ("vocab.txt", ""), ("tokenizer_config.json", "{}"), ("words.csv", "a,b"), (None, None)],
)
def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path, name: str, content: str) -> None:
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(VocabularyError, match=r"teachers\.t\.model") as caught:
        _load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id() -> None:
    with pytest.raises(VocabularyError, match="no such file or folder"):
        load_tokenizer("t", Teacher(model="./not/here"))


def test_code_beside_a_tokenizer_is_never_run(tmp_path: Path) -> None:
    _vocab_txt(tmp_path, VOCAB)
    (tmp_path / "tokenization_evil.py").write_text("raise SystemExit('ran')")
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(VocabularyError):
        _load(tmp_path)


def test_roles_of_public_vocabularies_are_found_by_name() -> None:
    if not DATA.is_dir():
        pytest.skip("the shared data is not beside the repository")
    beto, finbert, gpt2 = (_load(DATA / name) for name in ("beto", "finbert-cased", "gpt2"))
    assert (beto.mask_token_id, beto.pad_token_id, len(beto)) == (0, 1, 31002)
    assert (finbert.unk_token_id, finbert.mask_token_id, len(finbert)) == (101, 104, 50105)
    with pytest.raises(VocabularyError, match="gpt2 has no mask token"):
        require_mask("gpt2", Teacher(model=str(DATA / "gpt2")), gpt2)
