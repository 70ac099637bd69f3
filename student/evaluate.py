"""How well student, control and teachers guess the same masked tokens of documents that none was taught.

Held-out targets hold what each teacher said, so no teacher is loaded. All models guess the same tokens at the
same places, from the same input. A teacher spreads its probability over its own vocabulary, the student over the
merged one; so the student is measured twice: over the merged vocabulary (`nll_merged`, the harder task), and
with its probabilities renormalised on that teacher's tokens (`nll`, the like-for-like number; `accuracy` too).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel

from recipe import Recipe, Source, StudentError, Workdir
from recipe.table import format_table
from student.batch import TensorBatch, collate
from student.model import masked_hidden
from student.order import token_budget_batches
from student.run_folder import RunFolder
from student.stream import finished_manifest
from targets import TargetRows
from targets.reader import read_folder
from vocab.store import MergedVocabulary, read_vocabulary

_ROWS_AT_ONCE = 256
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Score:
    """One model on one source's held-out positions. Natural logarithms; `kl` is from the teacher, a lower bound.

    The bound is the divergence over the stored ids and the residual as one class (data processing inequality).
    """

    model: str
    language: str
    teacher: str
    positions: int
    accuracy: float
    nll: float
    accuracy_merged: float
    nll_merged: float
    kl: float


def evaluate(recipe: Recipe, workdir: Workdir, say: Callable[[str], None] = print) -> list[Score]:
    """Score every teacher, the student and, if trained, the control; write `report/evaluation.{json,csv}`."""
    vocabulary = read_vocabulary(workdir, recipe)
    models = {"student": load_export(workdir, "student")}
    if recipe.evaluation.control:
        models["control"] = load_export(workdir, "control")
    scores: list[Score] = []
    for source in recipe.sources():
        rows = heldout_rows(workdir, source, vocabulary)
        if rows is None:
            say(f"{source}: no held-out documents; raise sequences.heldout to evaluate it")
            continue
        scores.append(score_teacher(rows, source))
        for name, model in models.items():
            scores.append(score_student(name, model, rows, source, vocabulary))
    if not scores:
        raise StudentError("no source has held-out documents; raise sequences.heldout and shard and teach again")
    write_scores(workdir, scores)
    return scores


def heldout_rows(workdir: Workdir, source: Source, vocabulary: MergedVocabulary) -> TargetRows | None:
    """The held-out targets of a source; None where no document was held out."""
    manifest = finished_manifest(workdir, source, vocabulary, heldout=True)
    if manifest is None:
        return None
    rows = read_folder(workdir, workdir.targets(source, heldout=True), [row.name for row in manifest.shards])
    return rows if len(rows) else None


def load_export(workdir: Workdir, run: str) -> PreTrainedModel:
    """A trained run's model. Raises StudentError where it was not trained yet."""
    if not workdir.exists(f"{run}/export/config.json"):
        raise StudentError(
            f"{workdir.path(run)}/export: there is no trained {run}; run `python -m student train RECIPE` first"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: PreTrainedModel = AutoModelForMaskedLM.from_pretrained(RunFolder.open(workdir, run).local / "export")
    return model.eval().to(device)


def score_teacher(rows: TargetRows, source: Source) -> Score:
    """A teacher's own figures, from what it said."""
    nll = -float(rows.gold_logprob.mean())
    accuracy = float((rows.ids[rows.id_offsets[:-1]] == rows.labels).mean())
    return Score(
        f"teacher {source.teacher}",
        source.language,
        source.teacher,
        len(rows.labels),
        accuracy,
        nll,
        accuracy,
        nll,
        0.0,
    )


@torch.inference_mode()
def score_student(
    name: str, model: PreTrainedModel, rows: TargetRows, source: Source, vocabulary: MergedVocabulary
) -> Score:
    """A student's figures at a teacher's held-out positions."""
    remap = vocabulary.remap(source.teacher)
    outside = torch.ones(vocabulary.size, dtype=torch.bool, device=model.device)
    outside[torch.from_numpy(remap[remap >= 0].astype(np.int64)).to(model.device)] = False
    sums = torch.zeros(5, dtype=torch.float64)
    for batch in token_budget_batches(rows.lengths, _BATCH_TOKENS, np.random.default_rng(0)):
        tensors = collate(rows.take(batch), vocabulary.specials["pad"]).to(model.device)
        hidden = masked_hidden(model, tensors.input_ids, tensors.attention_mask, tensors.rows)
        for start in range(0, len(hidden), _ROWS_AT_ONCE):
            at = slice(start, start + _ROWS_AT_ONCE)
            logits = model.get_output_embeddings()(hidden[at]).float()
            sums += _sums(logits, tensors, at, outside)
    count = len(rows.labels)
    accuracy, nll, accuracy_merged, nll_merged, kl = (float(value) / count for value in sums)
    return Score(name, source.language, source.teacher, count, accuracy, nll, accuracy_merged, nll_merged, kl)


def _sums(logits: Tensor, batch: TensorBatch, at: slice, outside: Tensor) -> Tensor:
    """logits[c, V] → sums of accuracy, NLL (both over the teacher's tokens, then over all), and KL."""
    gold = batch.gold[at, None]
    log_s = torch.log_softmax(logits, dim=1)
    all_right = log_s.argmax(1, keepdim=True) == gold
    all_nll = -log_s.gather(1, gold)
    log_p = batch.logprobs[at]
    stored = log_p > -torch.inf
    p = log_p.exp()
    student = log_s.gather(1, batch.ids[at])
    rest = (1.0 - p.sum(1)).clamp_min(1e-9)
    student_rest = (1.0 - (student.exp() * stored).sum(1)).clamp_min(1e-9)
    kl = torch.where(stored, p * (log_p - student), 0.0).sum(1) + rest * (rest.log() - student_rest.log())
    log_s = torch.log_softmax(log_s.masked_fill(outside, -torch.inf), dim=1)
    right = log_s.argmax(1, keepdim=True) == gold
    nll = -log_s.gather(1, gold)
    return torch.stack([value.double().sum().cpu() for value in (right, nll, all_right, all_nll, kl)])


def write_scores(workdir: Workdir, scores: list[Score]) -> None:
    """Write the scores as `report/evaluation.json` and `.csv`."""
    records = [asdict(score) for score in scores]
    workdir.write_json("report/evaluation.json", records)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    workdir.write_bytes("report/evaluation.csv", text.getvalue().encode())


def format_scores(scores: list[Score]) -> str:
    """The scores as a table for a terminal."""
    header = ("language", "model", "positions", "accuracy", "NLL", "NLL, merged vocabulary", "KL to teacher")
    lines: list[tuple[str, ...]] = [header]
    for s in scores:
        kl = "-" if s.model.startswith("teacher") else f"{s.kl:.3f}"
        merged = "-" if s.model.startswith("teacher") else f"{s.nll_merged:.3f}"
        language = s.language if s.model.startswith("teacher") else ""
        lines.append((language, s.model, f"{s.positions:,}", f"{100 * s.accuracy:.1f} %", f"{s.nll:.3f}", merged, kl))
    return format_table(lines, left=2)
