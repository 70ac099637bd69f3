"""What `make demo` merges: text from message catalogues, and three tiny teachers of different tokenizer families.

    python -m recipes.demo            write corpora, train teachers (what is there is kept)
    python -m recipes.demo --result   one line of result, after the merge

The text is the Hindi, Spanish and Turkish translations that Django and Sphinx ship in their packages: about a
thousand short messages a language. Teachers this small, on this little text, show the machinery and not quality.
"""

from __future__ import annotations

import gettext
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipe import MissingExtraError, Workdir, load_recipe

RECIPE = "recipes/demo.yaml"
STEPS = 900
VOCABULARY = 1500
_PLACEHOLDER = re.compile(r"%\(\w+\)[\d.]*[a-z]|%[A-Za-z]|\{[^}]*\}|<[^>]*>|&\w+;|[&`*]")


def main(argv: list[str]) -> int:
    """Prepare the demo, train one teacher of it, or print its result."""
    recipe = load_recipe(RECIPE)
    if argv == ["--result"]:
        return _result(recipe)
    if argv[:1] == ["--teacher"]:
        _train(recipe, argv[1])
        return 0
    for language, settings in recipe.languages.items():
        path = Path(settings.corpora[0])
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = sorted(set(messages(language)))
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"{path}: {len(lines):,} messages")
    waiting = [name for name in recipe.teachers if not (Path(recipe.teachers[name].model) / "figures.json").exists()]
    if waiting:
        print(f"training {len(waiting)} tiny teachers: {', '.join(waiting)}")
    running = [subprocess.Popen([sys.executable, "-m", "recipes.demo", "--teacher", name]) for name in waiting]
    try:
        return max([process.wait() for process in running], default=0)
    except KeyboardInterrupt:
        for process in running:
            process.wait()
        return 130


def messages(language: str) -> Iterator[str]:
    """The translated messages of one language, without markup and placeholders."""
    for package in ("django", "sphinx"):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise MissingExtraError(package.capitalize(), "demo", "the demo")
        for path in sorted(Path(found.origin).parent.rglob(f"{language}/LC_MESSAGES/*.mo")):
            with path.open("rb") as stream:
                catalogue: dict[Any, str] = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
            for key, text in catalogue.items():
                if key:
                    yield " ".join(_PLACEHOLDER.sub(" ", text).split())


def _train(recipe: Any, name: str) -> None:
    import torch

    from pipeline.clean import clean, document_id, is_heldout
    from recipes.tiny_teacher import TinyTeacher, train_tiny_teacher
    from recipes.tiny_tokenizer import train_tokenizer

    torch.set_num_threads(1)
    language = next(code for code, settings in recipe.languages.items() if name in settings.teachers)
    lines = Path(recipe.languages[language].corpora[0]).read_text(encoding="utf-8").splitlines()
    documents = [text for text in map(clean, lines) if len(text) >= recipe.sequences.min_chars]
    taught = [text for text in documents if not is_heldout(document_id(text), recipe.sequences.heldout)]
    tokenizer = train_tokenizer(name, taught, VOCABULARY)
    settings = TinyTeacher(steps=STEPS, max_length=recipe.sequences.max_length, heldout_sequences=50)
    train_tiny_teacher(Path(recipe.teachers[name].model), tokenizer, taught, settings)


def _result(recipe: Any) -> int:
    from student.evaluate import Score
    from student.report import summary_line

    workdir = Workdir(recipe.workdir)
    scores = [Score(**record) for record in workdir.read_json("report/evaluation.json")]
    print(f"\n{summary_line(scores)}")
    print(f"Look at {recipe.workdir}/report/index.html")
    print("Teachers this small, on this little text, show the machinery and not quality.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
