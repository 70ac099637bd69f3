"""Train the student: a thin loop around stream, loss, optimizer and checkpoints."""

from __future__ import annotations

import math
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from recipe import Recipe, StudentError, Workdir, fingerprint
from student.batch import collate
from student.checkpoint import Progress, resume, save
from student.distributed import World, world
from student.export import export
from student.loss import Loss, LossSettings
from student.metrics import Metrics
from student.model import StudentWithLoss, build_student
from student.optimizer import learning_rate, make_optimizer
from student.run_folder import RunFolder
from student.stream import Batch, TargetStream
from vocab.store import MergedVocabulary, read_vocabulary

_GIVE_UP_AFTER_SKIPPED = 20


def train(recipe: Recipe, workdir: Workdir, run: str = "student") -> Progress:
    """Train, checkpoint, export. `run` is `student`, or `control` for the same student with λ = 0.

    Goes on from the newest checkpoint; a finished run returns at once. Raises StudentError when the loss
    stays non-finite, StaleError when the checkpoint belongs to another vocabulary, targets or architecture.
    """
    here = world()
    training = recipe.training
    vocabulary = read_vocabulary(workdir, recipe)
    stream = TargetStream(recipe, workdir)
    model = build_student(recipe, vocabulary).to(here.device)
    optimizer = make_optimizer(model, training)
    folder = RunFolder.open(workdir, run)
    identity = _identity(recipe, vocabulary, stream, model)
    progress = resume(folder.local / "checkpoints", model, optimizer, identity)
    if progress.step >= training.steps and (folder.local / "export" / "config.json").exists():
        return progress

    settings = LossSettings(
        kd_weight=0.0 if run == "control" else training.kd_weight,
        temperature=training.temperature,
        tail=training.tail if recipe.targets.encoding == "top-k" else "sampled",
    )
    learner: Any = StudentWithLoss(model, settings).to(here.device)
    if here.size > 1:
        learner = DistributedDataParallel(learner)
    model.train()

    def checkpoint() -> None:
        if here.leads:
            save(folder.local / "checkpoints", model, optimizer, progress, identity, training.keep)
            folder.push("checkpoints", "metrics.jsonl", "tensorboard")
        here.barrier()

    metrics = Metrics(folder.local, run, training.steps, progress.step) if here.leads else nullcontext()
    saved_at = progress.step
    log = _Log(stream)
    with metrics, closing(stream.batches(progress.place)) as source:
        try:
            while progress.step < training.steps:
                waited = time.perf_counter()
                batches = [next(source) for _ in range(training.accumulate)]
                log.waited += time.perf_counter() - waited
                step = progress.step + 1
                # Dropout is a function of the step too, so that a resumed run repeats an uninterrupted one.
                torch.manual_seed(recipe.seed + step * here.size + here.rank)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(training, step)
                finite = _optimise(learner, optimizer, batches, recipe, vocabulary.specials["pad"], here, log)
                progress = replace(
                    progress,
                    step=step,
                    tokens=progress.tokens + sum(len(batch.rows.input_ids) for batch in batches),
                    rows=progress.rows + sum(len(batch.rows.positions) for batch in batches),
                    skipped=0 if finite else progress.skipped + 1,
                    place=batches[-1].after,
                )
                if progress.skipped >= _GIVE_UP_AFTER_SKIPPED:
                    raise StudentError(
                        f"the loss was not finite for {progress.skipped} steps in a row; "
                        "lower training.lr and go on from the last checkpoint"
                    )
                if isinstance(metrics, Metrics):
                    metrics.advance()
                    if step % training.log_every == 0 or step == training.steps:
                        metrics.write(
                            step, log.take() | {"lr": learning_rate(training, step), "tokens": progress.tokens}
                        )
                if step % training.checkpoint_every == 0 or step == training.steps:
                    checkpoint()
                    saved_at = step
        except KeyboardInterrupt:
            if saved_at < progress.step:
                checkpoint()
            raise
    if here.leads:
        export(recipe, workdir, folder, model, vocabulary, progress)
    here.barrier()
    return progress


def export_newest(recipe: Recipe, workdir: Workdir, run: str = "student") -> Path:
    """Export the newest checkpoint of a run, finished or not."""
    vocabulary = read_vocabulary(workdir, recipe)
    model = build_student(recipe, vocabulary)
    folder = RunFolder.open(workdir, run)
    identity = _identity(recipe, vocabulary, TargetStream(recipe, workdir), model)
    progress = resume(folder.local / "checkpoints", model, None, identity)
    if not progress.step:
        raise StudentError(f"{folder.local}: has no checkpoint yet; run `python -m student train RECIPE` first")
    return export(recipe, workdir, folder, model, vocabulary, progress)


def _identity(recipe: Recipe, vocabulary: MergedVocabulary, stream: TargetStream, model: Any) -> dict[str, str]:
    return {
        "vocabulary": vocabulary.fingerprint,
        "targets": fingerprint({str(source): m.fingerprint for source, m in stream.manifests.items()}),
        "architecture": fingerprint([recipe.student.model_dump(), model.config.model_type]),
    }


def _optimise(
    learner: Any,
    optimizer: torch.optim.Optimizer,
    batches: list[Batch],
    recipe: Recipe,
    pad_id: int,
    here: World,
    log: _Log,
) -> bool:
    """One optimizer step over global batches, of which this rank sees every size-th sequence. False if skipped."""
    positions = sum(len(batch.rows.positions) for batch in batches)
    total = torch.zeros((), device=here.device)
    draws = 0 if recipe.targets.encoding == "top-k" else recipe.targets.draws
    for number, batch in enumerate(batches):
        mine = np.arange(here.rank, len(batch.rows), here.size)
        # DistributedDataParallel averages over ranks; the sum over all rows is wanted.
        normaliser = positions / here.size
        last = number == len(batches) - 1
        quiet = learner.no_sync() if here.size > 1 and not last else nullcontext()
        with quiet, _autocast(recipe, here):
            if not len(mine):
                mine = np.arange(1)
                normaliser = math.inf
            loss = learner(collate(batch.rows.take(mine), pad_id, draws).to(here.device), normaliser)
            loss.total.backward()
        total += loss.total.detach()
        log.add(loss, batch)
    norm = torch.nn.utils.clip_grad_norm_(learner.parameters(), recipe.training.clip)
    finite = bool(torch.isfinite(norm))
    if finite:
        optimizer.step()
    else:
        log.skipped += 1
    optimizer.zero_grad(set_to_none=True)
    log.steps += 1
    log.norm += float(norm) if finite else 0.0
    return finite


def _autocast(recipe: Recipe, here: World) -> Any:
    wanted = recipe.training.precision
    if wanted == "bfloat16" or (wanted == "auto" and here.device.type == "cuda"):
        return torch.autocast(here.device.type, torch.bfloat16)
    return nullcontext()


class _Log:
    """Sums between two log records."""

    def __init__(self, stream: TargetStream) -> None:
        self._stream = stream
        self._clear()

    def _clear(self) -> None:
        self.kd = self.mlm = self.total = self.waited = self.norm = 0.0
        self.steps = self.tokens = self.padded = self.skipped = 0
        self.sequences = np.zeros(len(self._stream.sources), np.int64)
        self.since = time.perf_counter()

    def add(self, loss: Loss, batch: Batch) -> None:
        self.total += float(loss.total.detach())
        self.kd += float(loss.kd)
        self.mlm += float(loss.mlm)
        self.tokens += len(batch.rows.input_ids)
        self.padded += int(batch.rows.lengths.max()) * len(batch.rows)
        self.sequences += np.bincount(batch.sources, minlength=len(self.sequences))

    def take(self) -> dict[str, float]:
        """The averages since the last call."""
        seconds = time.perf_counter() - self.since
        values: dict[str, float] = {
            "loss": self.total / self.steps,
            "kd": self.kd / self.steps,
            "mlm": self.mlm / self.steps,
            "gradient_norm": self.norm / self.steps,
            "tokens_per_second": self.tokens / seconds,
            "steps_per_second": self.steps / seconds,
            "data_wait_share": self.waited / seconds,
            "padding_share": 1.0 - self.tokens / self.padded,
            "skipped_steps": float(self.skipped),
        }
        for source, count in zip(self._stream.sources, self.sequences, strict=True):
            values[f"sequences/{source}"] = float(count)
        self._clear()
        return values
