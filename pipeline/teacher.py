"""Load a teacher, and get the logits of chosen rows only, on any Hugging Face masked-LM architecture."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from pipeline.device import choose_device
from recipe import TeacherError
from recipe.schema import Teacher, Teaching
from targets.head import selected_rows
from vocab.load import load_tokenizer

_PADDING_ALLOWED = 256


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher in evaluation mode on its device, with its tokenizer."""

    name: str
    model: PreTrainedModel
    tokenizer: Any
    device: torch.device

    @torch.inference_mode()
    def logits(self, input_ids: Tensor, attention_mask: Tensor, rows: Tensor) -> Tensor:
        """Logits of chosen tokens: input_ids[B, T], attention_mask[B, T], rows[R] into B·T → [R, V]."""
        with selected_rows(self.model, rows):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits.view(len(rows), -1)


def load_teacher(name: str, teacher: Teacher, teaching: Teaching | None = None) -> LoadedTeacher:
    """Load model and tokenizer. Raises TeacherError where weights are missing or the tokenizer does not fit."""
    teaching = teaching or Teaching()
    tokenizer = load_tokenizer(name, teacher)
    if tokenizer.mask_token_id is None:
        raise TeacherError(f"teachers.{name}: {teacher.model} has no mask token, so it is no masked language model")
    place = choose_device(teaching.device)
    attention = {} if teaching.attention == "auto" else {"attn_implementation": teaching.attention}
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForMaskedLM.from_pretrained(
            teacher.model,
            revision=teacher.revision,
            dtype=teacher.dtype,
            trust_remote_code=teacher.trust_remote_code,
            output_loading_info=True,
            **attention,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        cause = " ".join(str(error).split())[:300]
        if "trust_remote_code" in str(error):
            cause = f"it needs model code of its own; if you trust that, set teachers.{name}.trust_remote_code: true"
        raise TeacherError(f"teachers.{name}.model: {teacher.model} cannot be loaded as a masked LM: {cause}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise TeacherError(
            f"teachers.{name}.model: {teacher.model} lacks weights of its masked-LM head or encoder ({missing}); "
            "give a checkpoint that was saved as a masked LM"
        )
    width = model.get_output_embeddings().weight.shape[0]
    if not 0 <= width - len(tokenizer) < _PADDING_ALLOWED:
        raise TeacherError(
            f"teachers.{name}: the tokenizer has {len(tokenizer)} entries, the model {width}; "
            f"set teachers.{name}.tokenizer to the one the model was trained with"
        )
    model = model.eval().requires_grad_(False).to(place)
    if teaching.compile:
        # The encoder only: the head sees another number of rows each time.
        model.base_model.compile(dynamic=True)
    return LoadedTeacher(name, model, tokenizer, place)


def teacher_fingerprint(teacher: Teacher) -> str:
    """sha256 of a local model folder's configuration and weights, or of a hub id with its resolved revision."""
    digest = hashlib.sha256(json.dumps({"dtype": teacher.dtype}).encode())
    folder = Path(teacher.model)
    if not folder.is_dir():
        digest.update(f"{teacher.model}@{_resolved_revision(teacher)}".encode())
        return digest.hexdigest()
    for path in sorted(folder.iterdir()):
        if path.name == "config.json" or path.suffix in (".safetensors", ".bin"):
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _resolved_revision(teacher: Teacher) -> str:
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(model_info(teacher.model, revision=teacher.revision).sha)
    except (HfHubHTTPError, OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:200]
        raise TeacherError(
            f"{teacher.model}: is no local folder, and the hub does not answer for it ({cause})"
        ) from None
