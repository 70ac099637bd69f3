"""A student's step against the same architecture's own Hugging Face masked-LM loss, on the same batch.

    python -m benchmarks.student_step [--repeats 3] [--threads 1] [--vocabulary 119547]

ModernBERT, 6 layers × 384, 4,096 tokens, 15 % masked. A step is forward, backward and AdamW on both sides. Ours also
distils from 8 stored ids a position; with λ = 0 it does the same work as Hugging Face's loss and must give its value.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from benchmarks.timing import interleaved, show
from recipe.schema import Training
from student.batch import TensorBatch
from student.loss import LossSettings
from student.model import StudentWithLoss
from student.optimizer import make_optimizer

BATCH, LENGTH, K = 32, 128, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=119_547)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=options.vocabulary, hidden_size=384, intermediate_size=576, num_hidden_layers=6,
            num_attention_heads=6, max_position_embeddings=LENGTH, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            cls_token_id=1, sep_token_id=2,
        )
    )  # fmt: skip
    input_ids = torch.randint(5, options.vocabulary, (BATCH, LENGTH))
    masked = torch.rand(BATCH, LENGTH) < 0.15
    labels = torch.where(masked, torch.randint(5, options.vocabulary, (BATCH, LENGTH)), -100)
    rows = masked.flatten().nonzero().squeeze(1)
    batch = TensorBatch(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        rows=rows,
        gold=labels[masked],
        ids=torch.randint(5, options.vocabulary, (len(rows), K)),
        logprobs=torch.log_softmax(torch.randn(len(rows), K), dim=1) - 0.3,
        row_of=rows // LENGTH,
    )
    optimizer = make_optimizer(model, Training(lr=1e-9))

    def hugging_face() -> float:
        loss = model(input_ids=input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        return step(loss)

    def ours(settings: LossSettings) -> float:
        return step(StudentWithLoss(model, settings)(batch, float(len(rows))).total)

    def step(loss: torch.Tensor) -> float:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    mlm = LossSettings(kd_weight=0.0)
    difference = abs(hugging_face() - ours(mlm))
    print(f"(masked-LM loss, Hugging Face's and ours: differ by {difference:.1e})")
    ways = {
        "Hugging Face masked-LM loss": hugging_face,
        "ours, masked LM only": lambda: ours(mlm),
        "ours, λ·KD + (1−λ)·MLM": lambda: ours(replace(mlm, kd_weight=0.5)),
        "ours, with the ghost class": lambda: ours(LossSettings(0.5, tail="ghost")),
    }
    medians = interleaved(ways, options.repeats)
    size = f"V = {options.vocabulary:,}, {BATCH * LENGTH:,} tokens, {len(rows)} masked"
    title = f"student step: 6 × 384, {size}, {options.threads} thread(s)"
    show(title, medians, BATCH * LENGTH, "tokens", against="Hugging Face masked-LM loss")


if __name__ == "__main__":
    main()
