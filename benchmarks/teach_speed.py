"""Teaching against a plain Hugging Face loop: bert-base dimensions, V = 119,547, random weights, real lengths if any.

    python -m benchmarks.teach_speed [--sequences 96] [--repeats 3] [--threads 1]

The plain loop takes sequences in corpus order, eight at a time, pads them, runs the model with its full head, and
takes log-softmax and top-k at the masked positions. Ours is `pipeline.teach.teach_shard`, all of it: masking, length
sorting, masked head, top-k, remap; once more with reading the sequences and encoding and writing the targets. The bare
bound runs the same batches through encoder and masked head and does nothing else. All see the same masked input; ours
and the plain loop must agree.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from benchmarks.timing import interleaved, show
from pipeline.mask import MaskRule
from pipeline.sequences import Sequences, read_sequences, write_sequences
from pipeline.teach import Lesson, Work, teach_shard
from pipeline.teacher import LoadedTeacher
from recipe import Workdir
from recipe.schema import Masking
from targets import ShardInfo, write_shard
from targets.ragged import lengths_to_offsets

WIDTH, LONGEST, K = 119_547, 128, 8
PAD, CLS, SEP, MASK, FIRST = 0, 101, 102, 103, 104
SHARED = Path("../shared/data")
INFO = ShardInfo("bench", "xx", 0, 1, WIDTH, "top-k", K, "none", {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(vocab_size=WIDTH)).eval().requires_grad_(False)
    teacher = LoadedTeacher("bench", model, SimpleNamespace(pad_token_id=PAD), torch.device("cpu"))
    maskable = np.arange(WIDTH) >= FIRST
    rule = MaskRule(Masking(), 0, MASK, maskable, maskable)
    remap = np.arange(WIDTH, dtype=np.int32)
    with tempfile.TemporaryDirectory() as temporary:
        for language in ("hi", "fi"):
            lengths, source = sequence_lengths(language, options.sequences)
            sequences = make_sequences(lengths)
            lesson = Lesson(teacher, rule, remap, unknown=100, k=K, work=Work(4096))
            found: dict[str, Any] = {}

            def plain(sequences: Sequences = sequences, found: dict[str, Any] = found) -> None:
                found["plain"] = plain_loop(model, sequences, rule)

            def ours(sequences: Sequences = sequences, found: dict[str, Any] = found, lesson: Lesson = lesson) -> None:
                found["ours"] = teach_shard(sequences, lesson)

            def with_files(lesson: Lesson = lesson, folder: str = f"{temporary}/{language}") -> None:
                workdir = Workdir(folder)
                rows = teach_shard(read_sequences(workdir, "sequences.parquet"), lesson)
                write_shard(workdir, "targets", rows, INFO)

            bare = bare_batches(sequences, lesson)

            def bound(bare: list[Any] = bare, teacher: LoadedTeacher = teacher) -> None:
                for batch in bare:
                    teacher.logits(*batch)

            write_sequences(Workdir(f"{temporary}/{language}"), "sequences.parquet", sequences, {})
            ways = {
                "plain Hugging Face loop": plain,
                "bare bound": bound,
                "ours": ours,
                "ours, read and written": with_files,
            }
            medians = interleaved(ways, options.repeats)
            agree(found["plain"], found["ours"])
            what = f"{len(lengths)} sequences, mean length {lengths.mean():.0f} ({source})"
            title = f"teach, {language}: {what}, {options.threads} thread(s)"
            show(title, medians, len(lengths), "sequences", against="plain Hugging Face loop")
            files = medians["ours, read and written"]
            print(f"  of the bare bound (encoder and masked head in a loop): {medians['bare bound'] / files:.3f}")
    exactness(model)


def sequence_lengths(language: str, count: int) -> tuple[np.ndarray, str]:  # type: ignore[type-arg]
    """Lengths of packed sequences of real text in corpus order, or log-normal ones where there is no such text."""
    text = SHARED / "text" / f"{language}.txt.zst"
    if not text.exists():
        lengths = np.random.default_rng(0).lognormal(3.4, 0.8, count)
        return np.clip(lengths, 8, LONGEST).astype(np.int64), "synthetic lengths"
    from pipeline.pack import make_packer
    from recipe import Teacher
    from vocab.load import load_tokenizer
    from vocab.sample import sample_documents

    tokenizer = load_tokenizer("mbert", Teacher(model=str(SHARED / "vocabs" / "bert-base-multilingual-cased")))
    packer = make_packer("mbert", tokenizer, LONGEST)
    encoded = tokenizer(sample_documents((str(text),)), add_special_tokens=False, verbose=False)["input_ids"]
    packed = packer.pack(np.arange(len(encoded), dtype=np.uint64), encoded)
    found = np.diff(packed.offsets).tolist()
    return np.array(found[:count], np.int64), "real text"


def make_sequences(lengths: np.ndarray) -> Sequences:  # type: ignore[type-arg]
    random = np.random.default_rng(1)
    offsets = lengths_to_offsets(lengths)
    ids = random.integers(FIRST, WIDTH, offsets[-1]).astype(np.int32)
    ids[offsets[:-1]], ids[offsets[1:] - 1] = CLS, SEP
    numbers = np.arange(len(lengths)).astype(np.uint64)
    return Sequences(numbers, numbers, ids, offsets)


@torch.inference_mode()
def plain_loop(model: Any, sequences: Sequences, rule: MaskRule) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, log-probabilities) of every masked position, in corpus order."""
    ids, logprobs = [], []
    for start in range(0, len(sequences.document), 8):
        rows = range(start, min(start + 8, len(sequences.document)))
        masked = [
            rule.apply(sequences.input_ids[sequences.offsets[row] : sequences.offsets[row + 1]], row, 0) for row in rows
        ]
        width = max(len(tokens) for tokens, _ in masked)
        input_ids = torch.full((len(masked), width), PAD)
        chosen = torch.zeros_like(input_ids, dtype=torch.bool)
        for row, (tokens, positions) in enumerate(masked):
            input_ids[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
            chosen[row, torch.from_numpy(positions.astype(np.int64))] = True
        logits = model(input_ids=input_ids, attention_mask=(input_ids != PAD).long()).logits
        top = torch.log_softmax(logits[chosen], dim=1).topk(K, dim=1)
        ids.append(top.indices)
        logprobs.append(top.values)
    return torch.cat(ids), torch.cat(logprobs)


def bare_batches(sequences: Sequences, lesson: Lesson) -> list[Any]:
    """The very batches that `teach_shard` makes, as the arguments of `LoadedTeacher.logits`."""
    made: list[Any] = []

    class Recorder(LoadedTeacher):
        def logits(self, *batch: torch.Tensor) -> torch.Tensor:
            made.append(batch)
            return torch.zeros(len(batch[2]), WIDTH)

    teacher = lesson.teacher
    recorder = Recorder(teacher.name, teacher.model, teacher.tokenizer, teacher.device)
    teach_shard(sequences, replace(lesson, teacher=recorder, work=Work(lesson.work.batch_tokens)))
    return made


def agree(plain: tuple[torch.Tensor, torch.Tensor], ours: Any) -> None:
    """Refuse to print a ratio of two things that are not the same."""
    difference = np.abs(ours.logprobs.reshape(-1, K) - plain[1].numpy()).max()
    if difference > 1e-3:
        raise SystemExit(f"the two differ by {difference} nats")
    print(f"\n(largest difference of a stored log-probability: {difference:.1e} nats)")


def exactness(model: Any) -> None:
    """The head on masked rows against the full head, bit by bit."""
    from targets.head import selected_rows

    inputs = torch.randint(FIRST, WIDTH, (2, 64))
    rows = torch.tensor([3, 17, 64, 100])
    with torch.inference_mode():
        full = model(input_ids=inputs).logits.reshape(128, -1)[rows]
        with selected_rows(model, rows):
            ours = model(input_ids=inputs).logits.reshape(4, -1)
    print(f"head on masked rows equals the full head bit for bit: {torch.equal(full, ours)}")


if __name__ == "__main__":
    main()
