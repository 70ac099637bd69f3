"""Small tokenizers of every family, trained on the spot, and text that is hard on them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = (
    "The quick brown fox jumps over the lazy dog, playing and jumping all day.",
    "Kissa kävelee hitaasti metsässä; koirat juoksevat nopeasti metsään.",
    "El niño juega con la pelota en el jardín y la niña está leyendo.",
    "मैं हिन्दी में लिख रहा हूँ, यह एक वाक्य है।",
    "Bugün hava çok güzel; çocuklar parkta oynuyorlar.",
    "我们在学习语言。 ABC abc 1234 (x) [y] {z} a-b",
) * 4

HARD = (
    "",
    " ",
    "\n\n",
    " two  spaces \t and\nlines ",
    "😀 👨‍👩‍👧 e\u0301 é \u200d \u202b עברית \ufffe\uffff \ue000",
    "[MASK] <mask> [PAD]<pad> x[UNK] <unk> <s> </s> [CLS] [SEP]",
    "▁ ▁▁x Ġ Ġx ## ##ing <0x41> <0xE4>",
    "x" * 3000,
)

BERT_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FAIRSEQ_MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def wordpiece(lowercase: bool = False, unused: int = 3, prefix: str = "##") -> Any:
    marks = ["[MASK]", "[PAD]", *(f"[unused{n}]" for n in range(unused)), "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", continuing_subword_prefix=prefix))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix)
    tokenizer.train_from_iterator(
        SENTENCES, trainers.WordPieceTrainer(vocab_size=300, special_tokens=marks, continuing_subword_prefix=prefix)
    )
    tokenizer.post_processor = _frame(tokenizer, "[CLS]", "[SEP]")
    return _named(tokenizer, pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")


def unigram() -> Any:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=FAIRSEQ_MARKS, unk_token="<unk>")
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = _frame(tokenizer, "<s>", "</s>")
    return _named(tokenizer, pad="<pad>", unk="<unk>", bos="<s>", eos="</s>", cls="<s>", sep="</s>", mask="<mask>")


def byte_level() -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    marks = [*FAIRSEQ_MARKS[:4], AddedToken("<mask>", lstrip=True)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return _named(tokenizer, pad="<pad>", unk="<unk>", bos="<s>", eos="</s>", cls="<s>", sep="</s>", mask="<mask>")


def sentencepiece_file(folder: Path, kind: str) -> Path:
    """A `.model` with [PAD], [CLS], [SEP], [MASK] as control symbols; `bpe` falls back to bytes."""
    import sentencepiece

    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=content,
        model_type=kind,
        vocab_size=520 if kind == "bpe" else 220,
        byte_fallback=kind == "bpe",
        control_symbols=["[PAD]", "[CLS]", "[SEP]", "[MASK]"],
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    path = folder / f"{kind}.model"
    path.write_bytes(content.getvalue())
    return path


def _frame(tokenizer: Tokenizer, cls: str, sep: str) -> Any:
    return processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )


def _named(tokenizer: Tokenizer, **names: str) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{role}_token": token for role, token in names.items()}
    )
