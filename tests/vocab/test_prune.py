from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from pipeline.__main__ import main as pipeline
from recipe import StaleError, Workdir, load_recipe
from tests.conftest import make_text
from vocab.__main__ import main as vocab
from vocab.load import ROLES
from vocab.store import read_vocabulary

PRUNE = ["--set", "vocab.min_count=1"]


@pytest.fixture
def cut(write_recipe: Callable[..., Path]) -> Path:
    """A recipe with a built vocabulary and sequence shards."""
    path = write_recipe()
    assert vocab(["build", str(path)]) == 0
    assert pipeline(["shard", str(path)]) == 0
    return path


def test_pruning_drops_only_what_no_text_uses_and_remaps_follow(cut: Path, capsys) -> None:
    recipe = load_recipe(cut, ["vocab.min_count=1"])
    workdir = Workdir(recipe.workdir)
    before = read_vocabulary(workdir, recipe, pruned=False)
    tokens, remaps = before.tokens, {name: before.remap(name) for name in before.teachers}
    with pytest.raises(StaleError, match="python -m vocab prune"):
        read_vocabulary(workdir, recipe)
    assert vocab(["prune", str(cut), *PRUNE]) == 0
    assert "0.0000 %" in capsys.readouterr().out
    after = read_vocabulary(workdir, recipe)
    moved = np.load(Path(recipe.workdir) / "vocab/pruned.npy")
    assert after.size == (moved >= 0).sum() < before.size
    assert [after.specials[role] for role in ROLES] == [0, 1, 2, 3, 4]
    assert [tokens[i] for i in np.flatnonzero(moved >= 0)] == after.tokens
    for name, remap in remaps.items():
        assert np.array_equal(after.remap(name), np.where(remap >= 0, moved[remap], -1))


def test_text_of_the_corpora_is_segmented_as_before(cut: Path, teachers: dict[str, Path]) -> None:
    assert vocab(["prune", str(cut), *PRUNE]) == 0
    recipe = load_recipe(cut, ["vocab.min_count=1"])
    vocabulary = read_vocabulary(Workdir(recipe.workdir), recipe)
    for teacher, language in (("wp", "es"), ("bpe", "es"), ("uni", "hi")):
        own = AutoTokenizer.from_pretrained(teachers[teacher])
        exact = AutoTokenizer.from_pretrained(Path(recipe.workdir) / "vocab/tokenizers/by-teacher" / teacher)
        assert len(exact) == vocabulary.size
        remap = vocabulary.remap(teacher)
        for text in make_text(language):
            assert exact(text)["input_ids"] == remap[own(text)["input_ids"]].tolist()


def test_pruning_twice_changes_nothing(cut: Path, capsys) -> None:
    assert vocab(["prune", str(cut), *PRUNE]) == 0
    assert vocab(["prune", str(cut), *PRUNE]) == 0
    assert "already pruned" in capsys.readouterr().out
    assert vocab(["build", str(cut), *PRUNE]) == 0
    assert "up to date" in capsys.readouterr().out


def test_a_pruned_vocabulary_is_taught_and_other_settings_are_refused(cut: Path, capsys) -> None:
    assert vocab(["prune", str(cut), *PRUNE]) == 0
    assert pipeline(["teach", str(cut), *PRUNE, "--lang", "hi"]) == 0
    assert pipeline(["verify", str(cut), *PRUNE, "--lang", "hi"]) == 0
    capsys.readouterr()
    assert pipeline(["teach", str(cut), "--lang", "es"]) == 2
    assert "vocab.min_count: 1" in capsys.readouterr().err
    more = 'languages.xx={teachers: [uni], corpora: ["x"]}'
    assert vocab(["build", str(cut), *PRUNE, "--set", more]) == 2
    assert "was pruned of tokens that uni/xx may need" in capsys.readouterr().err


def test_targets_are_not_made_worthless_without_being_asked(cut: Path, capsys) -> None:
    assert pipeline(["teach", str(cut), "--lang", "hi"]) == 0
    assert vocab(["prune", str(cut), *PRUNE]) == 2
    assert "prune RECIPE --force" in capsys.readouterr().err
    assert vocab(["prune", str(cut), *PRUNE, "--force"]) == 0


def test_pruning_before_there_are_shards_says_what_to_run(write_recipe: Callable[..., Path], capsys) -> None:
    path = write_recipe()
    assert vocab(["build", str(path), *PRUNE]) == 0
    assert vocab(["prune", str(path), *PRUNE]) == 2
    assert "python -m pipeline shard RECIPE --lang es" in capsys.readouterr().err
    assert vocab(["prune", str(path)]) == 2
    assert "vocab.min_count: is 0" in capsys.readouterr().err
