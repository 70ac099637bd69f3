"""Train a small tokenizer of each family, as teachers in the wild have them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from recipe import Teacher
from vocab.load import load_tokenizer

_BERT = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


def train_tokenizer(family: str, texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `size` tokens; family: `wordpiece` (as BERT), `unigram` (as XLM-R) or `byte-bpe` (as RoBERTa)."""
    return {"wordpiece": _wordpiece, "unigram": _unigram, "byte-bpe": _byte_bpe}[family](texts, size)


def _wordpiece(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(_BERT.values()), show_progress=False)
    )
    return _framed(tokenizer, _BERT)


def _byte_bpe(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(_ROBERTA.values()),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return _framed(tokenizer, _ROBERTA)


def _unigram(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=f"{folder}/spm",
            vocab_size=size,
            hard_vocab_limit=False,
            user_defined_symbols=["<pad>", "<mask>"],
            minloglevel=2,
        )
        path = Path(folder) / "spm.model"
        tokenizer = load_tokenizer("unigram", Teacher(model=str(path)))
    return _framed(tokenizer.backend_tokenizer, _ROBERTA)


def _framed(tokenizer: Tokenizer, roles: dict[str, str]) -> PreTrainedTokenizerFast:
    cls, sep = roles["cls"], roles["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B {sep}",
        special_tokens=[(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))],
    )
    named = {f"{role}_token": token for role, token in roles.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
