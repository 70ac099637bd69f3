"""The student: any Hugging Face masked-LM architecture over the merged vocabulary, with the merge's loss as forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from recipe import Recipe, StudentError
from student.batch import TensorBatch
from student.loss import Loss, LossSettings, distillation_loss, teacher_target
from targets.head import open_decoder, selected_rows
from vocab.store import MergedVocabulary

_ROLES = {"pad": "pad", "bos": "cls", "eos": "sep", "cls": "cls", "sep": "sep", "mask": "mask"}


def build_student(recipe: Recipe, vocabulary: MergedVocabulary) -> PreTrainedModel:
    """A freshly initialised student, seeded by the recipe. Raises StudentError for what the architecture cannot be."""
    kind, overrides = recipe.student.model_type, recipe.student.config
    try:
        defaults = AutoConfig.for_model(kind)
    except ValueError:
        raise StudentError(
            f"student.model_type: {kind!r} is not a Hugging Face model type, such as modernbert"
        ) from None
    for key in overrides:
        if not hasattr(defaults, key):
            raise StudentError(f"student.config.{key}: {kind} has no such setting")
    if int(overrides.get("vocab_size", vocabulary.size)) != vocabulary.size:
        raise StudentError(
            f"student.config.vocab_size: is {overrides['vocab_size']}, the merged vocabulary has {vocabulary.size}; "
            "leave it out"
        )
    special = {
        f"{role}_token_id": vocabulary.specials[merged]
        for role, merged in _ROLES.items()
        if merged in vocabulary.specials
    }
    torch.manual_seed(recipe.seed)
    try:
        config = AutoConfig.for_model(kind, **{**special, **overrides, "vocab_size": vocabulary.size})
        model = AutoModelForMaskedLM.from_config(config)
    except (ValueError, TypeError, KeyError, AssertionError, ZeroDivisionError, RuntimeError) as error:
        cause = " ".join(str(error).split())[:200]
        raise StudentError(f"student: {kind} cannot be built with this config: {cause}") from None
    _check_length(model, recipe.sequences.max_length)
    _check_head(model)
    return model


def _check_length(model: PreTrainedModel, max_length: int) -> None:
    """Try the longest sequence there can be: some architectures need more positions than tokens."""
    input_ids = torch.full((1, max_length), model.config.vocab_size - 1)
    try:
        with torch.no_grad():
            masked_hidden(model, input_ids, torch.ones_like(input_ids), torch.tensor([0]))
    except (IndexError, RuntimeError, ValueError) as error:
        cause = " ".join(str(error).split())[:120]
        raise StudentError(
            f"student.config: {model.config.model_type} cannot take sequences.max_length = {max_length} tokens; "
            f"raise student.config.max_position_embeddings ({cause})"
        ) from None


def _check_head(model: PreTrainedModel) -> None:
    """Hold the two facts that the fast path rests on: rows pass the head one by one, and the projection comes last."""
    was_training = model.training
    model.eval()
    input_ids = torch.arange(8)[None] % model.get_output_embeddings().weight.shape[0]
    rows = torch.tensor([1, 5])
    with torch.no_grad():
        full = model(input_ids=input_ids).logits[0, rows]
        hidden = masked_hidden(model, input_ids, torch.ones_like(input_ids), rows)
        ours = model.get_output_embeddings()(hidden) if hidden.shape[-1] != full.shape[-1] else None
    model.train(was_training)
    if ours is None or not torch.allclose(ours, full, rtol=1e-3, atol=1e-4):
        raise StudentError(
            f"student.model_type: the head of {model.config.model_type} does more than project masked rows on the "
            "vocabulary; choose another architecture, such as modernbert or bert"
        )


def masked_hidden(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, rows: Tensor) -> Tensor:
    """What the vocabulary projection reads at `rows[R]` of the flattened [B, T] batch: [R, d]."""
    with selected_rows(model, rows), open_decoder(model):
        return model(input_ids=input_ids, attention_mask=attention_mask).logits.reshape(len(rows), -1)


class StudentWithLoss(nn.Module):
    """A student whose forward takes a batch and gives the loss, as DistributedDataParallel wants it."""

    def __init__(self, model: PreTrainedModel, settings: LossSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, batch: TensorBatch, normaliser: float) -> Loss:
        hidden = masked_hidden(self.model, batch.input_ids, batch.attention_mask, batch.rows)
        decoder: Any = self.model.get_output_embeddings()
        return distillation_loss(
            hidden=hidden,
            weight=decoder.weight,
            bias=decoder.bias,
            gold=batch.gold,
            ids=batch.ids,
            target=teacher_target(batch.logprobs, self.settings),
            settings=self.settings,
            normaliser=normaliser,
        )
