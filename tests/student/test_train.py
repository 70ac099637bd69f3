"""The trainer, for real: streams targets, resumes exactly, exports what Hugging Face loads."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer, pipeline

from pipeline.__main__ import main as pipeline_main
from recipe import Recipe, StaleError, StudentError, Workdir, load_recipe
from student.__main__ import main as student_main
from student.checkpoint import checkpoints
from student.metrics import read_metrics
from student.stream import Place, TargetStream
from student.train import train
from vocab.__main__ import main as vocab_main
from vocab.store import read_vocabulary


@pytest.fixture
def taught(write_recipe: Callable[..., Path]) -> Callable[..., Path]:
    """Write a recipe whose targets are there."""

    def make(**sections: object) -> Path:
        path = write_recipe(**sections)
        for command in (["build"], ["shard"], ["teach"]):
            main = vocab_main if command == ["build"] else pipeline_main
            assert main([*command, str(path)]) == 0
        return path

    return make


def losses(recipe: Recipe, run: str = "student") -> list[float]:
    return [record["loss"] for record in read_metrics(Path(recipe.workdir) / run / "metrics.jsonl")]


def weights(recipe: Recipe) -> dict[str, torch.Tensor]:
    return dict(AutoModelForMaskedLM.from_pretrained(f"{recipe.workdir}/student/export").state_dict())


def test_training_lowers_the_loss_and_exports_a_model(taught: Callable[..., Path]) -> None:
    path = taught(evaluation={"control": True})
    assert student_main(["train", str(path), "--set", "training.steps=60", "--set", "training.lr=0.01"]) == 0
    recipe = load_recipe(path)
    found = losses(recipe)
    assert len(found) == 60
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:5])
    export = Path(recipe.workdir) / "student" / "export"
    vocabulary = read_vocabulary(Workdir(recipe.workdir), recipe)
    model = AutoModelForMaskedLM.from_pretrained(export)
    for folder in (export, export / "tokenizers" / "hi"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert len(tokenizer) == model.get_input_embeddings().weight.shape[0] == vocabulary.size
        fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
        assert len(fill(f"sa {tokenizer.mask_token} per")) == 5
    assert "hi" in (export / "README.md").read_text()
    AutoModelForTokenClassification.from_pretrained(export, num_labels=3)
    assert student_main(["evaluate", str(path)]) == 0
    assert student_main(["report", str(path)]) == 0
    scores = json.loads((Path(recipe.workdir) / "report" / "evaluation.json").read_text())
    assert {score["model"] for score in scores} == {"student", "control", "teacher wp", "teacher bpe", "teacher uni"}
    assert "<svg" in (Path(recipe.workdir) / "report" / "index.html").read_text()


def test_resume_is_bitwise_the_uninterrupted_run(taught: Callable[..., Path], tmp_path: Path) -> None:
    path = taught()
    whole = load_recipe(path)
    train(whole, Workdir(whole.workdir))
    expected, expected_losses = weights(whole), losses(whole)

    for name in ("checkpoints", "export"):
        Workdir(whole.workdir).remove(f"student/{name}")
    code = (
        "import os, student.train as t, recipe\n"
        "step = t._optimise\n"
        "def die(*a):\n"
        "    die.count = getattr(die, 'count', 0) + 1\n"
        "    if die.count == 8: os.kill(os.getpid(), 9)\n"
        "    return step(*a)\n"
        "t._optimise = die\n"
        f"r = recipe.load_recipe({str(path)!r})\n"
        "t.train(r, recipe.Workdir(r.workdir))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [p.name for p in checkpoints(Path(whole.workdir) / "student/checkpoints")] == ["step-00000005"]
    train(whole, Workdir(whole.workdir))
    assert losses(whole) == expected_losses
    for name, value in weights(whole).items():
        assert torch.equal(value, expected[name]), name


def test_a_stream_begun_anywhere_is_the_rest_of_the_stream(taught: Callable[..., Path]) -> None:
    recipe = load_recipe(taught())
    stream = TargetStream(recipe, Workdir(recipe.workdir))
    source = stream.batches()
    first = [next(source) for _ in range(30)]
    source.close()
    for at in (1, 11, 29):
        resumed = TargetStream(recipe, Workdir(recipe.workdir)).batches(first[at - 1].after)
        assert np.array_equal(next(resumed).rows.input_ids, first[at].rows.input_ids)
        resumed.close()
    assert first[0].after == Place(0, 1)


def test_no_sequence_is_ever_two_epochs_ahead_of_another(taught: Callable[..., Path]) -> None:
    recipe = load_recipe(taught(training={"steps": 1, "batch_tokens": 256, "window": 64, "language_alpha": 0.5}))
    stream = TargetStream(recipe, Workdir(recipe.workdir))
    seen: Counter[tuple[int, int]] = Counter()
    for number in range(60):
        for batch in stream.round(number):
            seen.update(zip(batch.sources.tolist(), batch.rows.sequence_id.tolist(), strict=True))
    for index, source in enumerate(stream.sources):
        times = [count for (of, _), count in seen.items() if of == index]
        assert len(times) == stream.rows[source]
        assert max(times) - min(times) <= 1


def test_two_ranks_train_like_one(taught: Callable[..., Path], tmp_path: Path) -> None:
    path = taught(student={"model_type": "bert", "config": {"hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 64, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0}})  # fmt: skip
    recipe = load_recipe(path)
    train(recipe, Workdir(recipe.workdir))
    one = weights(recipe)
    Workdir(recipe.workdir).remove("student")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*torchrun, "-m", "student", "train", str(path), "--set", "evaluation.control=true"]
    subprocess.run(command, timeout=240, check=True, env=environment)
    assert (Path(recipe.workdir) / "control/export/config.json").exists()
    for name, value in weights(recipe).items():
        torch.testing.assert_close(value, one[name], rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_something_else_is_refused(taught: Callable[..., Path]) -> None:
    path = taught()
    recipe = load_recipe(path)
    train(recipe, Workdir(recipe.workdir))
    other = load_recipe(path, ["student.config.num_hidden_layers=1"])
    with pytest.raises(StaleError, match="another architecture"):
        train(other, Workdir(other.workdir))
    longer = load_recipe(path, ["training.steps=14", "training.lr=0.001"])
    assert train(longer, Workdir(longer.workdir)).step == 14


@pytest.mark.parametrize("kind", ["modernbert", "roberta", "distilbert"])
def test_other_architectures_train_too(kind: str, taught: Callable[..., Path]) -> None:
    size = {
        "modernbert": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        "roberta": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    }[kind]
    recipe = load_recipe(taught(student={"model_type": kind, "config": size}), ["training.steps=2"])
    assert train(recipe, Workdir(recipe.workdir)).step == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("student.model_type=gpt9", "not a Hugging Face model type"),
        ("student.config.hidden_sise=3", "no such setting"),
        ("student.config.vocab_size=7", "leave it out"),
        ("student.config.max_position_embeddings=16", "cannot take sequences.max_length"),
        ("student.config.num_attention_heads=5", "cannot be built"),
    ],
)
def test_an_impossible_student_is_named(change: str, problem: str, taught: Callable[..., Path]) -> None:
    recipe = load_recipe(taught(), [change])
    with pytest.raises(StudentError, match=problem):
        train(recipe, Workdir(recipe.workdir))


def test_missing_targets_are_named(taught: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = taught()
    recipe = load_recipe(path)
    Workdir(recipe.workdir).remove("targets/uni")
    assert student_main(["train", str(path)]) == 2
    assert "pipeline teach RECIPE --lang hi --teacher uni" in capsys.readouterr().err


def test_targets_of_another_vocabulary_are_refused(
    taught: Callable[..., Path], write_recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    taught()
    other = str(write_recipe(vocab={"match": "surface"}))
    assert vocab_main(["build", other, "--force"]) == 0
    assert student_main(["train", other]) == 2
    assert "another merged vocabulary" in capsys.readouterr().err
    assert pipeline_main(["teach", other]) == 2
    assert "--force" in capsys.readouterr().err


def test_a_remote_workdir_holds_the_whole_run(taught: Callable[..., Path]) -> None:
    path = taught(workdir="memory://remote-run", training={"steps": 3, "batch_tokens": 256, "checkpoint_every": 2})
    assert student_main(["train", str(path)]) == 0
    assert student_main(["train", str(path), "--set", "training.steps=4"]) == 0
    workdir = Workdir("memory://remote-run")
    assert workdir.exists("student/checkpoints/step-00000004/model.safetensors")
    assert workdir.exists("student/export/tokenizers/hi/tokenizer.json")
    assert [json.loads(line)["step"] for line in workdir.read_bytes("student/metrics.jsonl").splitlines()][-1] == 4
    assert student_main(["evaluate", str(path)]) == 0
    assert student_main(["report", str(path)]) == 0
    assert workdir.exists("report/index.html")
