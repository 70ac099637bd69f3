"""Teach one shard: sequences of teacher ids → what the teacher says at masked positions, in merged ids.

No Beam in here: the same function runs in a worker, a notebook or a benchmark. The result is a function of
the shard and the settings alone, so a retried or repeated shard has the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.mask import MaskRule
from pipeline.sequences import Sequences
from pipeline.sparse import drawn_targets, sparse_targets
from pipeline.teacher import LoadedTeacher
from recipe import Recipe, TeacherError
from targets import TargetRows
from targets.ragged import gather, lengths_to_offsets
from vocab.store import MergedVocabulary

Array = npt.NDArray[Any]

_WORTH_RUNNING = 512  # padded tokens


@dataclass
class Work:
    """What teaching cost so far, and the batch size that has proved to fit; padded: tokens with padding."""

    batch_tokens: int
    sequences: int = 0
    positions: int = 0
    tokens: int = 0
    padded: int = 0
    device_seconds: float = 0.0


@dataclass(frozen=True)
class Lesson:
    """Everything that teaching a shard needs besides the shard: teacher, masks, remap, and what to keep.

    k: ids kept at a position, or draws.
    """

    teacher: LoadedTeacher
    mask: MaskRule
    remap: Array
    unknown: int
    k: int
    work: Work
    encoding: str = "top-k"


def make_lesson(
    recipe: Recipe, teacher: LoadedTeacher, vocabulary: MergedVocabulary, k: int, encoding: str = "top-k"
) -> Lesson:
    """Prepare a teacher for shards; of each masked position the k most likely tokens are kept, or k draws."""
    width = teacher.model.get_output_embeddings().weight.shape[0]
    remap = np.full(width, -1, np.int32)
    known = vocabulary.remap(teacher.name)
    remap[: len(known)] = known[:width]
    maskable = remap >= 0
    maskable[[i for i in teacher.tokenizer.all_special_ids if i < width]] = False
    starts_word = np.zeros(width, bool)
    starts_word[remap >= 0] = vocabulary.starts_word[remap[remap >= 0]]
    longest = longest_sequence(teacher)
    if recipe.sequences.max_length > longest:
        raise TeacherError(
            f"teachers.{teacher.name}: the model takes at most {longest} tokens, sequences.max_length is "
            f"{recipe.sequences.max_length}"
        )
    if encoding == "top-k" and k > maskable.sum():
        raise TeacherError(f"targets.k: {k} is more than the {maskable.sum()} tokens of teacher {teacher.name}")
    return Lesson(
        teacher=teacher,
        mask=MaskRule(recipe.masking, recipe.seed, teacher.tokenizer.mask_token_id, maskable, starts_word),
        remap=remap,
        unknown=vocabulary.specials["unk"],
        k=k,
        work=Work(
            recipe.teaching.batch_tokens if recipe.teaching.batch_tokens != "auto" else automatic(teacher.device)
        ),
        encoding=encoding,
    )


def automatic(device: torch.device) -> int:
    """Padded tokens of a batch to start with: a CPU gains nothing from more, a GPU is halved until it fits."""
    return 4096 if device.type == "cpu" else 65_536


def longest_sequence(teacher: LoadedTeacher) -> int:
    """The most tokens a teacher takes, as far as its model and tokenizer say."""
    said = (getattr(teacher.model.config, "max_position_embeddings", None), teacher.tokenizer.model_max_length)
    return min((number for number in said if isinstance(number, int) and number > 0), default=1 << 30)


def teach_shard(sequences: Sequences, lesson: Lesson) -> TargetRows:
    """Mask every sequence `copies` times, ask the teacher, keep its k most likely tokens, or k draws, in merged ids.

    Sequences in which nothing may be masked are left out.
    """
    masked = _mask(sequences, lesson)
    positions_total = int(masked.position_offsets[-1])
    ids = np.empty((positions_total, lesson.k), np.int32)
    logprobs = np.empty((positions_total, lesson.k), np.float32)
    gold = np.empty(positions_total, np.float32)
    draws = np.ones((positions_total, lesson.k), np.uint16)
    lengths = np.diff(masked.input_offsets)
    started = time.perf_counter()
    for planned in batches(lengths, lesson.work.batch_tokens):
        for rows, places, answer in _ask_what_fits(masked, planned, lesson):
            ids[places], logprobs[places], gold[places], draws[places] = answer
            lesson.work.padded += len(rows) * int(lengths[rows].max())
    lesson.work.device_seconds += time.perf_counter() - started
    lesson.work.sequences += len(lengths)
    lesson.work.positions += positions_total
    lesson.work.tokens += int(lengths.sum())
    return TargetRows(
        sequence_id=masked.sequence_id,
        document=masked.document,
        copy=masked.copy,
        input_ids=_to_merged(masked.input_ids, lesson),
        input_offsets=masked.input_offsets,
        positions=masked.positions,
        labels=_to_merged(masked.labels, lesson),
        gold_logprob=gold,
        position_offsets=masked.position_offsets,
        ids=lesson.remap[ids][draws > 0],
        logprobs=logprobs[draws > 0],
        id_offsets=lengths_to_offsets((draws > 0).sum(1)),
        draws=draws[draws > 0] if lesson.encoding != "top-k" else np.empty(0, np.uint16),
    )


def batches(lengths: Array, batch_tokens: int) -> Iterator[Array]:
    """Row numbers of batches that hold at most `batch_tokens` padded tokens, longest sequences first.

    lengths[n] → arrays of row numbers. A sequence longer than the budget is a batch of its own. A batch that is
    worth running ends early where the sequences have become a fifth shorter than its longest: in a small shard
    padding would cost more than a second batch.
    """
    order = np.argsort(-lengths, kind="stable")
    descending = lengths[order]
    start = 0
    while start < len(order):
        longest = int(descending[start])
        stop = start + max(1, batch_tokens // longest)
        similar = int(np.searchsorted(-descending, -0.8 * longest, side="right"))
        enough = start + -(-_WORTH_RUNNING // longest)
        stop = min(stop, max(similar, enough))
        yield order[start:stop]
        start = stop


@dataclass(frozen=True)
class _Masked:
    sequence_id: Array
    document: Array
    copy: Array
    input_ids: Array
    input_offsets: Array
    positions: Array
    labels: Array
    position_offsets: Array
    points: Array


def _mask(sequences: Sequences, lesson: Lesson) -> _Masked:
    rule = lesson.mask
    points: list[Array] = []
    which: list[tuple[int, int]] = []
    inputs: list[Array] = []
    positions: list[Array] = []
    labels: list[Array] = []
    for row in range(len(sequences.sequence_id)):
        ids = sequences.input_ids[sequences.offsets[row] : sequences.offsets[row + 1]]
        for copy in range(rule.settings.copies):
            number = int(sequences.sequence_id[row])
            masked, places = rule.apply(ids, number, copy)
            if len(places):
                if lesson.encoding != "top-k":
                    points.append(rule.points(places, len(ids), number, copy, lesson.encoding, lesson.k))
                which.append((row, copy))
                inputs.append(masked)
                positions.append(places)
                labels.append(ids[places])
    chosen = np.array(which, np.int64).reshape(-1, 2)
    empty = [np.empty(0, np.int32)]
    return _Masked(
        sequence_id=sequences.sequence_id[chosen[:, 0]],
        document=sequences.document[chosen[:, 0]],
        copy=chosen[:, 1].astype(np.uint8),
        input_ids=np.concatenate(inputs or empty),
        input_offsets=lengths_to_offsets([len(ids) for ids in inputs]),
        positions=np.concatenate(positions or empty).astype(np.uint16),
        labels=np.concatenate(labels or empty),
        position_offsets=lengths_to_offsets([len(places) for places in positions]),
        points=np.concatenate(points or [np.empty((0, lesson.k))]),
    )


def _ask_what_fits(masked: _Masked, rows: Array, lesson: Lesson) -> Iterator[tuple[Array, Array, Any]]:
    """(rows, places, answer) of one batch, or of its halves where the device has no memory for the whole.

    Later batches are made smaller then. Raises TeacherError if not even one sequence fits.
    """
    places, _ = gather(masked.position_offsets, rows)
    try:
        yield rows, places, _ask(masked, rows, places, lesson)
        return
    except torch.OutOfMemoryError:
        pass  # not in here: the error holds on to the tensors that did not fit
    if len(rows) == 1:
        raise TeacherError(
            f"teachers.{lesson.teacher.name}: the device has no memory for a single sequence of "
            f"{np.diff(masked.input_offsets)[rows[0]]} tokens; lower sequences.max_length or use another device"
        )
    if lesson.teacher.device.type == "cuda":
        torch.cuda.empty_cache()
    lengths = np.diff(masked.input_offsets)[rows]
    lesson.work.batch_tokens = max(1, min(lesson.work.batch_tokens, len(rows) * int(lengths.max())) // 2)
    for half in np.array_split(rows, 2):
        yield from _ask_what_fits(masked, half, lesson)


def _ask(masked: _Masked, rows: Array, places: Array, lesson: Lesson) -> tuple[Array, Array, Array, Array]:
    """One padded batch through the teacher → ids[P, k] (teacher's), logprobs[P, k], gold_logprob[P], draws[P, k]."""
    device, pad = lesson.teacher.device, lesson.teacher.tokenizer.pad_token_id or 0
    lengths = np.diff(masked.input_offsets)[rows]
    width = int(lengths.max())
    tokens, _ = gather(masked.input_offsets, rows)
    attention = np.arange(width) < lengths[:, None]
    input_ids = np.full(attention.shape, pad, np.int64)
    input_ids[attention] = masked.input_ids[tokens]
    counts = np.diff(masked.position_offsets)[rows]
    flat = np.repeat(np.arange(len(rows)) * width, counts) + masked.positions[places]
    with torch.inference_mode():
        logits = lesson.teacher.logits(
            torch.from_numpy(input_ids).to(device),
            torch.from_numpy(attention.astype(np.int64)).to(device),
            torch.from_numpy(flat).to(device),
        )
        dropped = torch.from_numpy(np.flatnonzero(lesson.remap < 0)).to(device)
        gold = torch.from_numpy(masked.labels[places].astype(np.int64)).to(device)
        if lesson.encoding == "top-k":
            ids, logprobs, gold_logprob = sparse_targets(logits, gold, dropped, lesson.k)
            draws = torch.ones_like(ids)
        else:
            points = torch.from_numpy(masked.points[places]).to(device)
            ids, logprobs, draws, gold_logprob = drawn_targets(logits, gold, dropped, points)
        if not (torch.isfinite(gold_logprob).all() and torch.isfinite(logprobs[draws > 0]).all()):
            raise TeacherError(
                f"teachers.{lesson.teacher.name}: the model gives NaN or infinite logits; try dtype: float32"
            )
    return (
        ids.cpu().numpy().astype(np.int32),
        logprobs.cpu().numpy(),
        gold_logprob.cpu().numpy(),
        draws.cpu().numpy().astype(np.uint16),
    )


def _to_merged(ids: Array, lesson: Lesson) -> Array:
    merged = lesson.remap[ids]
    return np.where(merged < 0, np.int32(lesson.unknown), merged)
