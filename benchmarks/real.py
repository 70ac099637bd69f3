"""The whole path on real text: train four tiny teachers, merge them, compare the student with them.

    python -m benchmarks.real            everything, resuming what is done
    python -m benchmarks.real teacher hi just that teacher

The text is not part of the repository: see recipes/real.yaml for where it is expected.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import zstandard

from recipe import Teacher, load_recipe

RECIPE = "recipes/real.yaml"
VOCABULARIES = Path("../shared/data/vocabs")
# language → vocabulary, steps (about ten minutes of one core each)
TEACHERS = {
    "es": ("beto", 4000),
    "fi": ("finbert-cased", 3000),
    "tr": ("wiki-tr-sp", 4000),
    "hi": ("bert-base-multilingual-cased", 1500),
}
STEPS = (
    ["vocab", "build"],
    ["pipeline", "shard"],
    ["pipeline", "teach"],
    ["student", "train"],
    ["student", "evaluate"],
    ["student", "report"],
)


def train_teacher(language: str) -> None:
    """Train one language's teacher on its documents less the held-out ones."""
    import torch

    from pipeline.clean import clean, document_id, is_heldout
    from recipes.tiny_teacher import TinyTeacher, train_tiny_teacher
    from vocab.load import load_tokenizer

    torch.set_num_threads(1)
    recipe = load_recipe(RECIPE)
    settings = recipe.languages[language]
    vocabulary, steps = TEACHERS[language]
    tokenizer = load_tokenizer(vocabulary, Teacher(model=str(VOCABULARIES / vocabulary)))
    if tokenizer.backend_tokenizer.post_processor is None:
        add_sentence_marks(tokenizer)
    with Path(settings.corpora[0]).open("rb") as stream:
        text = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stream), encoding="utf-8").read()
    documents = (clean(line) for line in text.split("\n"))
    taught = [d for d in documents if d and not is_heldout(document_id(d), recipe.sequences.heldout)]
    folder = Path(recipe.teachers[settings.teachers[0]].model)
    print(language, train_tiny_teacher(folder, tokenizer, taught, TinyTeacher(steps=steps)), flush=True)


def add_sentence_marks(tokenizer: object) -> None:
    """Give a bare SentencePiece model BERT's frame around a sequence."""
    from tokenizers import processors

    cls, sep = tokenizer.cls_token, tokenizer.sep_token  # type: ignore[attr-defined]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[attr-defined]
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B {sep}",
        special_tokens=[(cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id)],  # type: ignore[attr-defined]
    )


def main() -> None:
    if sys.argv[1:2] == ["teacher"]:
        return train_teacher(sys.argv[2])
    if not VOCABULARIES.exists():
        sys.exit(f"{VOCABULARIES}: the real text and vocabularies are not here")
    waiting = [subprocess.Popen([sys.executable, "-m", "benchmarks.real", "teacher", code]) for code in TEACHERS]
    if any(process.wait() for process in waiting):
        sys.exit("a teacher failed to train")
    for step in STEPS:
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", *step, RECIPE, *sys.argv[1:]], check=True)
        print(f"[{' '.join(step)}: {time.monotonic() - started:.0f} s]", flush=True)
    return None


if __name__ == "__main__":
    main()
