import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from recipes.tiny_teacher import TinyTeacher, train_tiny_teacher
from recipes.tiny_tokenizer import train_tokenizer
from tests.conftest import make_text

SMALL = TinyTeacher(steps=60, hidden_size=32, layers=1, batch_tokens=256, max_length=32, heldout_sequences=30)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    text = make_text("es", 400)
    folder = tmp_path_factory.mktemp("teacher")
    return folder, train_tiny_teacher(folder, train_tokenizer("wordpiece", text, 200), text, SMALL)


def test_a_teacher_is_a_plain_hugging_face_folder(teacher: tuple[Path, dict[str, Any]]) -> None:
    model = AutoModelForMaskedLM.from_pretrained(teacher[0])
    tokenizer = AutoTokenizer.from_pretrained(teacher[0])
    assert model.config.vocab_size == len(tokenizer) == teacher[1]["vocabulary"]
    assert (model.config.pad_token_id, model.config.cls_token_id) == (tokenizer.pad_token_id, tokenizer.cls_token_id)
    with torch.no_grad():
        logits = model(**tokenizer(["casa que", "ro"], padding=True, return_tensors="pt")).logits
    assert logits.shape[-1] == len(tokenizer)
    assert logits.isfinite().all()


def test_a_teacher_knows_more_of_unseen_text_than_a_uniform_guess(teacher: tuple[Path, dict[str, Any]]) -> None:
    assert teacher[1]["heldout_nll"] < math.log(teacher[1]["vocabulary"]) - 0.5


def test_a_finished_teacher_is_not_trained_again(teacher: tuple[Path, dict[str, Any]]) -> None:
    before = (teacher[0] / "model.safetensors").stat().st_mtime_ns
    again = train_tiny_teacher(teacher[0], None, [], SMALL)
    assert again == teacher[1] == json.loads((teacher[0] / "figures.json").read_text())
    assert (teacher[0] / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_without_figures_is_not_taken_for_finished(tmp_path: Path) -> None:
    text = make_text("es", 100)
    tokenizer = train_tokenizer("wordpiece", text, 200)
    few = TinyTeacher(steps=1, hidden_size=32, layers=1, max_length=32, heldout_sequences=10)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    assert train_tiny_teacher(tmp_path, tokenizer, text, few)["steps"] == 1
    AutoModelForMaskedLM.from_pretrained(tmp_path)
