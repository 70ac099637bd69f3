from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipe import Teacher, VocabularyError
from tests.vocab import tokenizers_made_here as made
from vocab.identity import read_identities
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
    ("content", "words"),
    [
        ("\n".join([*VOCAB, "play"]), "'play' twice, in lines 6 and 8"),
        ("\n".join(entry for entry in VOCAB if entry != "[UNK]"), r"has no \[UNK\]"),
        ("\n".join(["[PAD", *VOCAB[1:]]), r"line 1 is '\[PAD'.*write \[PAD\]"),
        ("\n".join([*VOCAB[:4], "[MASK", *VOCAB[5:]]), r"line 5 is '\[MASK'.*write \[MASK\]"),
        ("\n".join([*VOCAB[:4], *VOCAB[5:]]), r"no (mask token|\[MASK\])"),
        ("\n".join([*VOCAB, "", ""]), "ends with an empty line"),
        ("\n".join([*VOCAB[:5], "", "x", "", "y"]), "'' twice, in lines 6 and 8"),
        ("\r\n".join(VOCAB), r"Windows line ends \(CRLF\); convert them: sed"),
        ("\ufeff" + "\n".join(VOCAB), "byte order mark; remove it: sed"),
    ],
)
@pytest.mark.parametrize("config", [None, {"tokenizer_class": "BertTokenizer"}])
def test_a_damaged_word_list_is_refused_in_one_line(
    tmp_path: Path, content: str, words: str, config: dict[str, str] | None
) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content.encode() + b"\n")
    if config:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(VocabularyError, match=words) as caught:
        require_mask("t", Teacher(model=str(tmp_path)), _load(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_an_empty_line_is_an_unused_slot_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = _load(_vocab_txt(tmp_path, [*VOCAB[:5], "", *VOCAB[5:]]))
    assert tokenizer("playing")["input_ids"] == [2, 6, 7, 3]
    assert read_identities("t", tokenizer).identities[5] is None
    assert [record.getMessage().count("line 6 is empty") for record in caplog.records] == [1]


def test_a_role_that_the_word_list_does_not_have_is_refused(tmp_path: Path) -> None:
    _vocab_txt(tmp_path, VOCAB)
    config = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(VocabularyError, match=r"vocab\.txt: has no \[PAD, .* as pad_token"):
        _load(tmp_path)


@pytest.mark.parametrize("form", ["merges.txt", "tokenizer.json"])
def test_merges_that_name_unknown_tokens_are_refused_in_one_line(tmp_path: Path, form: str) -> None:
    tokenizer = made.byte_level()
    if form == "merges.txt":
        tokenizer.backend_tokenizer.model.save(str(tmp_path))
        with (tmp_path / form).open("a") as stream:
            stream.write("zzqq xx\n")
    else:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        state["model"]["merges"].append(["zzqq", "xx"])
        (tmp_path / form).write_text(json.dumps(state))
    with pytest.raises(VocabularyError, match="its merges name 'zzqq'") as caught:
        _load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_its_merges_is_refused(tmp_path: Path) -> None:
    made.byte_level().backend_tokenizer.model.save(str(tmp_path))
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(VocabularyError, match=r"vocab\.json: has no merges\.txt beside it"):
        _load(tmp_path)


def test_a_slow_only_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.raises(VocabularyError, match=r"only a slow tokenizer \(CanineTokenizer\).*tokenizer\.json"):
        _load(tmp_path)


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
    with pytest.raises(VocabularyError, match="needs code of its own, which is never run"):
        _load(tmp_path)


def test_roles_of_public_vocabularies_are_found_by_name() -> None:
    if not DATA.is_dir():
        pytest.skip("the shared data is not beside the repository")
    beto, finbert, gpt2 = (_load(DATA / name) for name in ("beto", "finbert-cased", "gpt2"))
    assert (beto.mask_token_id, beto.pad_token_id, len(beto)) == (0, 1, 31002)
    assert (finbert.unk_token_id, finbert.mask_token_id, len(finbert)) == (101, 104, 50105)
    with pytest.raises(VocabularyError, match="gpt2 has no mask token"):
        require_mask("gpt2", Teacher(model=str(DATA / "gpt2")), gpt2)
