"""The finished student as a plain Hugging Face folder: weights, tokenizers, model card."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from transformers import PreTrainedModel

from recipe import Recipe, Workdir
from student.checkpoint import Progress
from student.run_folder import RunFolder
from vocab.store import MergedVocabulary


def export(
    recipe: Recipe,
    workdir: Workdir,
    folder: RunFolder,
    model: PreTrainedModel,
    vocabulary: MergedVocabulary,
    progress: Progress,
) -> Path:
    """Write `export/`: model and language-agnostic tokenizer at the root, exact tokenizers in `tokenizers/<lang>`.

    Written under a temporary name and renamed, so a half-written export is never found.
    """
    final, temporary = folder.local / "export", folder.local / ".export.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    _fetch(workdir, "vocab/tokenizer", temporary)
    for language in recipe.languages:
        _fetch(workdir, f"vocab/tokenizers/{language}", temporary / "tokenizers" / language)
    (temporary / "README.md").write_text(model_card(recipe, vocabulary, progress), encoding="utf-8")
    (temporary / "recipe.json").write_text(json.dumps(recipe.model_dump(), indent=1, ensure_ascii=False), "utf-8")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    folder.push("export")
    return final


def _fetch(workdir: Workdir, relative: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in workdir.sizes(relative):
        (folder / name).write_bytes(workdir.read_bytes(f"{relative}/{name}"))


def model_card(recipe: Recipe, vocabulary: MergedVocabulary, progress: Progress) -> str:
    """The export's README.md, in the hub's model card format."""
    languages = "\n".join(f"- {code}" for code in recipe.languages)
    rows = "\n".join(
        f"| {code} | {', '.join(recipe.teachers[name].model for name in language.teachers)} |"
        for code, language in recipe.languages.items()
    )
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [mergedistill, distillation, multilingual]
language:
{languages}
---

# {recipe.name}

One masked language model, merged from several by distillation
([MergeDistill](https://arxiv.org/abs/2106.02834)): trained for {progress.step:,} steps on {progress.tokens:,} tokens
({progress.rows:,} masked positions) with λ = {recipe.training.kd_weight:g}; merged vocabulary of
{vocabulary.size:,} tokens. The licences of the teachers and of their text apply.

| language | teachers |
|---|---|
{rows}

## Use

The student segments a language as its teacher did: take the language's own tokenizer where you know the language,
the one at the root where you do not.

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER/tokenizers/{next(iter(recipe.languages))}")
```
"""
