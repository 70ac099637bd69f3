import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.__main__ import main as pipeline
from pipeline.sequences import read_sequences
from pipeline.teach import batches, make_lesson, teach_shard
from pipeline.teacher import load_teacher
from recipe import Teacher, TeacherError, Workdir, load_recipe
from vocab.__main__ import main as vocab
from vocab.store import read_vocabulary


@given(st.lists(st.integers(1, 512), max_size=300), st.integers(1, 4096))
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    found = list(batches(array, budget))
    assert sorted(np.concatenate([*found, np.empty(0, np.int64)]).tolist()) == list(range(len(lengths)))
    assert all(len(rows) == 1 or array[rows].max() * len(rows) <= budget for rows in found)


def test_padding_stays_small_whatever_the_lengths() -> None:
    lengths = np.random.default_rng(0).lognormal(3.4, 0.8, 500).clip(4, 512).astype(np.int64)
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches(lengths, 16_384))
    assert padded < 1.25 * lengths.sum()


@pytest.mark.parametrize("teaching", [{"attention": "eager"}, {"compile": True}, {"batch_tokens": 64}])
def test_how_a_teacher_is_run_changes_nothing_but_last_bits(
    teaching: dict[str, Any], write_recipe: Callable[..., Path]
) -> None:
    if teaching.get("compile") and shutil.which("gcc") is None:
        pytest.skip("torch.compile needs a C++ compiler here")
    path = str(write_recipe())
    assert vocab(["build", path]) == 0
    assert pipeline(["shard", path, "--lang", "hi"]) == 0
    found = []
    for settings in ({}, teaching):
        recipe = load_recipe(path, [f"teaching.{key}={value}" for key, value in settings.items()])
        workdir = Workdir(recipe.workdir)
        teacher = load_teacher("uni", recipe.teachers["uni"], recipe.teaching)
        lesson = make_lesson(recipe, teacher, read_vocabulary(workdir, recipe), 4)
        name = next(name for name in sorted(workdir.sizes("sequences/uni/hi")) if name.startswith("part"))
        found.append(teach_shard(read_sequences(workdir, f"sequences/uni/hi/{name}"), lesson))
    np.testing.assert_allclose(found[0].logprobs, found[1].logprobs, atol=1e-4)
    assert np.array_equal(found[0].labels, found[1].labels)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_says_about_the_same(dtype: str, write_recipe: Callable[..., Path]) -> None:
    recipe = load_recipe(write_recipe())
    ids = torch.randint(5, 100, (4, 16))
    rows = torch.arange(0, 64, 5)
    logits = []
    for kind in ("float32", dtype):
        teacher = load_teacher("uni", recipe.teachers["uni"].model_copy(update={"dtype": kind}), recipe.teaching)
        assert next(teacher.model.parameters()).dtype == getattr(torch, kind)
        logits.append(teacher.logits(ids, torch.ones_like(ids), rows).float().log_softmax(1))
    assert (logits[0] - logits[1]).abs().max() < 0.1


def test_model_code_is_run_only_where_the_recipe_says_so(tmp_path: Path, teachers: dict[str, Path]) -> None:
    folder = tmp_path / "own"
    shutil.copytree(teachers["uni"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoModelForMaskedLM": "modeling_own.Own", "AutoConfig": "modeling_own.C"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text(
        "from transformers import BertConfig, BertForMaskedLM\n"
        "class C(BertConfig):\n    model_type = 'own'\n"
        "class Own(BertForMaskedLM):\n    config_class = C\n    said = 'ran'\n"
    )
    with pytest.raises(TeacherError, match=r"teachers\.uni\.trust_remote_code: true"):
        load_teacher("uni", Teacher(model=str(folder)))
    assert load_teacher("uni", Teacher(model=str(folder), trust_remote_code=True)).model.said == "ran"
