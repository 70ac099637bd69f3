"""A bare SentencePiece `.model` (Unigram or BPE) as a fast tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from recipe import VocabularyError

_UNIGRAM, _BPE = 1, 2
_CONTROL, _USER_DEFINED = 3, 4


def read_sentencepiece(path: Path) -> Tokenizer:
    """Convert a `.model` file, keeping its ids. Raises VocabularyError for a damaged or another kind of model.

    Unigram keeps SentencePiece's own normalisation map; BPE with byte fallback follows what Llama's own
    converter does, since such models have no word boundary but the ▁ in their pieces.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        raise VocabularyError(f"{path}: is truncated or no SentencePiece model; fetch it again") from None
    if not proto.pieces or not proto.HasField("trainer_spec"):
        raise VocabularyError(f"{path}: is truncated or no SentencePiece model; fetch it again")
    kind = proto.trainer_spec.model_type
    if kind == _UNIGRAM:
        tokenizer = _unigram(proto)
    elif kind == _BPE:
        tokenizer = _bpe(proto)
    else:
        raise VocabularyError(f"{path}: is a SentencePiece model of characters or words; Unigram and BPE are supported")
    tokenizer.add_tokens(
        [
            AddedToken(piece.piece, normalized=False, special=piece.type == _CONTROL)
            for piece in proto.pieces
            if piece.type in (_CONTROL, _USER_DEFINED)
        ]
    )
    return tokenizer


def _unigram(proto: Any) -> Tokenizer:
    tokenizer = Tokenizer(
        models.Unigram(
            [(piece.piece, piece.score) for piece in proto.pieces],
            proto.trainer_spec.unk_id,
            proto.trainer_spec.byte_fallback,
        )
    )
    steps = _charsmap(proto)
    if proto.normalizer_spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return tokenizer


def _bpe(proto: Any) -> Tokenizer:
    from transformers.tokenization_utils_base import generate_merges

    vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    fallback = proto.trainer_spec.byte_fallback
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            generate_merges(vocabulary),
            unk_token=proto.trainer_spec.unk_piece,
            fuse_unk=True,
            byte_fallback=fallback,
        )
    )
    steps = _charsmap(proto)
    prefix = proto.normalizer_spec.add_dummy_prefix
    if prefix:
        steps.append(normalizers.Prepend("▁"))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    pieces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*pieces, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return tokenizer


def _charsmap(proto: Any) -> list[Any]:
    charsmap = proto.normalizer_spec.precompiled_charsmap
    return [normalizers.Precompiled(charsmap)] if charsmap else []
