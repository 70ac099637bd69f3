"""A merge small enough for every test: two languages, three tokenizer families, random teachers, generated text."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import BertConfig, BertForMaskedLM

from recipe import Recipe, load_recipe
from recipes.tiny_tokenizer import train_tokenizer

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no real text and vocabularies in {SHARED}")

_SYLLABLES = {
    "es": ["ca", "sa", "per", "ro", "ni", "ño", "que", "dal", "ti", "vo"],
    "hi": ["का", "म", "न", "दी", "प", "रा", "ले", "गो", "हि", "स"],
}


def make_text(language: str, documents: int = 150) -> list[str]:
    """Sentences of made-up words, the same in every run."""
    random = np.random.default_rng(len(language) + ord(language[0]))
    words = ["".join(random.choice(_SYLLABLES[language], random.integers(1, 4))) for _ in range(120)]
    return [" ".join(random.choice(words, random.integers(5, 40))) + "." for _ in range(documents)]


def make_teacher(folder: Path, family: str, language: str, **config: Any) -> Path:
    """A random BERT with a trained tokenizer, as a Hugging Face folder."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(family, make_text(language), 200)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **(size | config))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three teachers of three families: two Spanish, one Hindi."""
    root = tmp_path_factory.mktemp("teachers")
    return {
        "wp": make_teacher(root / "wp", "wordpiece", "es"),
        "bpe": make_teacher(root / "bpe", "byte-bpe", "es"),
        "uni": make_teacher(root / "uni", "unigram", "hi"),
    }


@pytest.fixture
def write_recipe(tmp_path: Path, teachers: dict[str, Path]) -> Callable[..., Path]:
    """Write corpora and a recipe into the test's folder; keyword arguments replace whole sections."""

    def write(**sections: Any) -> Path:
        for language in _SYLLABLES:
            path = tmp_path / f"{language}.txt"
            if not path.exists():
                path.write_text("\n".join(make_text(language)) + "\n", encoding="utf-8")
        document = {
            "name": "small",
            "workdir": str(tmp_path / "work"),
            "teachers": {name: {"model": str(folder)} for name, folder in teachers.items()},
            "languages": {
                "es": {"teachers": ["wp", "bpe"], "corpora": [str(tmp_path / "es.txt")]},
                "hi": {"teachers": ["uni"], "corpora": [str(tmp_path / "hi.txt")]},
            },
            "sequences": {"max_length": 32, "shard_size": 64, "heldout": 0.1},
            "targets": {"k": 4, "heldout_k": 16},
            "student": {
                "model_type": "bert",
                "config": {
                    "hidden_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "intermediate_size": 64,
                    "max_position_embeddings": 32,
                },
            },
            "training": {"steps": 12, "batch_tokens": 256, "window": 128, "checkpoint_every": 5, "log_every": 1},
            **sections,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe(write_recipe: Callable[..., Path]) -> Recipe:
    """The small merge as a recipe object."""
    return load_recipe(write_recipe())
