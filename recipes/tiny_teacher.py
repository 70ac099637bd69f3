"""Train a tiny masked LM from text on one CPU core, as a stand-in for a real pretrained teacher.

ModernBERT-shaped (rotary positions, pre-norm, gated, local attention), since a BERT of this size stays on the
unigram plateau for thousands of steps. Teachers this small show the machinery, not quality.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM
from transformers.utils.logging import disable_progress_bar

from student.loss import LossSettings, distillation_loss
from student.model import masked_hidden
from student.order import generator, token_budget_batches


@dataclass(frozen=True)
class TinyTeacher:
    """Size and training of one tiny teacher."""

    steps: int
    hidden_size: int = 128
    layers: int = 3
    batch_tokens: int = 1024
    max_length: int = 128
    lr: float = 2e-3
    mask_rate: float = 0.2
    heldout_sequences: int = 400
    seed: int = 0


def train_tiny_teacher(folder: Path, tokenizer: Any, texts: Iterable[str], settings: TinyTeacher) -> dict[str, Any]:
    """Train on the texts and save model, tokenizer and figures into `folder`; a finished folder is left alone.

    Returns the figures: steps, seconds, and NLL of masked tokens in sequences it was not trained on.
    """
    done = folder / "figures.json"
    if done.exists():
        return dict(json.loads(done.read_text()))
    torch.manual_seed(settings.seed)
    vocabulary = len(tokenizer)
    special = np.array(sorted(tokenizer.all_special_ids))
    sequences = _pack(tokenizer, texts, settings.max_length)
    heldout, sequences = sequences[: settings.heldout_sequences], sequences[settings.heldout_sequences :]
    model = ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=vocabulary,
            hidden_size=settings.hidden_size,
            intermediate_size=2 * settings.hidden_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=4,
            max_position_embeddings=settings.max_length,
            local_attention=16,
            global_attn_every_n_layers=3,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    started, step, epoch, sums, rows_seen = time.monotonic(), 0, 0, 0.0, 0
    model.train()
    while step < settings.steps:
        for batch in token_budget_batches(lengths, settings.batch_tokens, generator(settings.seed, epoch)):
            if step == settings.steps:
                break
            random = generator(settings.seed, 1, step)
            loss, rows = _loss(model, [sequences[i] for i in batch], tokenizer, special, settings.mask_rate, random)
            for group in optimizer.param_groups:
                group["lr"] = _rate(settings, step)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, sums, rows_seen = step + 1, sums + float(loss.detach()) * rows, rows_seen + rows
            if step % 200 == 0 or step == settings.steps:
                seconds = time.monotonic() - started
                print(
                    f"{folder.name}: step {step}/{settings.steps}, loss {sums / rows_seen:.3f}, {seconds:.0f} s",
                    flush=True,
                )
                sums, rows_seen = 0.0, 0
        epoch += 1
    figures = {
        "steps": step,
        "tokens": int(lengths.sum()),
        "seconds": round(time.monotonic() - started, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": vocabulary,
        **_score(model, heldout, tokenizer, special, settings),
    }
    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    done.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def _pack(tokenizer: Any, texts: Iterable[str], max_length: int) -> list[np.ndarray[Any, Any]]:
    """Windows of at most `max_length` tokens that do not cross texts, in a fixed random order."""
    room = max_length - 2
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    windows = [
        np.array([tokenizer.cls_token_id, *ids[start : start + room], tokenizer.sep_token_id])
        for ids in encoded
        for start in range(0, len(ids), room)
        if len(ids) - start >= 4
    ]
    return [windows[i] for i in generator(7).permutation(len(windows))]


def _loss(
    model: Any,
    sequences: list[np.ndarray[Any, Any]],
    tokenizer: Any,
    special: np.ndarray[Any, Any],
    rate: float,
    random: np.random.Generator,
) -> tuple[torch.Tensor, int]:
    """Masked-LM loss of a batch with fresh 80-10-10 masks; the head sees the masked rows only."""
    width = max(len(sequence) for sequence in sequences)
    input_ids = np.full((len(sequences), width), tokenizer.pad_token_id)
    attention = np.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence
        attention[row, : len(sequence)] = 1
    chosen = (random.random(input_ids.shape) < rate) & (attention == 1) & ~np.isin(input_ids, special)
    if not chosen.any():
        chosen[0, 1] = True
    gold = input_ids[chosen]
    action = random.random(len(gold))
    shown = np.where(action < 0.8, tokenizer.mask_token_id, gold)
    input_ids[chosen] = np.where(action >= 0.9, random.integers(0, len(tokenizer), len(gold)), shown)
    rows = torch.from_numpy(np.flatnonzero(chosen))
    hidden = masked_hidden(model, torch.from_numpy(input_ids), torch.from_numpy(attention), rows)
    nothing = torch.zeros(len(rows), 1)
    decoder = model.get_output_embeddings()
    targets = torch.from_numpy(gold)
    loss = distillation_loss(
        hidden, decoder.weight, decoder.bias, targets, nothing.long(), nothing, LossSettings(0.0), len(rows)
    )
    return loss.total, len(rows)


def _rate(settings: TinyTeacher, step: int) -> float:
    warmup = max(1, settings.steps // 20)
    return settings.lr * min((step + 1) / warmup, (settings.steps - step) / max(1, settings.steps - warmup))


@torch.no_grad()
def _score(
    model: Any,
    sequences: list[np.ndarray[Any, Any]],
    tokenizer: Any,
    special: np.ndarray[Any, Any],
    settings: TinyTeacher,
) -> dict[str, float]:
    model.eval()
    total = rows = 0.0
    for start in range(0, len(sequences), 8):
        batch = sequences[start : start + 8]
        loss, count = _loss(model, batch, tokenizer, special, settings.mask_rate, generator(settings.seed, 2, start))
        total, rows = total + float(loss) * count, rows + count
    return {"heldout_nll": round(total / rows, 3) if rows else math.nan}
