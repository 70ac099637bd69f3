"""The masked-LM head on chosen tokens only, for any Hugging Face architecture, teacher or student.

Only masked positions have targets, and the head over a large vocabulary is most of a model's work, so the
encoder sees every token and the head sees the masked ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


@contextmanager
def selected_rows(model: PreTrainedModel, rows: Tensor) -> Iterator[None]:
    """While open, the head of `model` gets only `rows[R]` (indices into B·T) of its encoder's output, as [1, R, d]."""

    def keep(_module: Any, _arguments: Any, output: Any) -> Any:
        hidden = output[0]
        chosen = hidden.reshape(-1, hidden.shape[-1])[rows][None]
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output["last_hidden_state"] = chosen
        return output

    handle = model.base_model.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def open_decoder(model: PreTrainedModel) -> Iterator[None]:
    """While open, the final vocabulary projection passes its input on, so `logits` is what the projection reads.

    The caller multiplies by `model.get_output_embeddings()` itself, in pieces.
    """
    decoder = model.get_output_embeddings()
    decoder.forward = lambda hidden: hidden
    try:
        yield
    finally:
        del decoder.forward
