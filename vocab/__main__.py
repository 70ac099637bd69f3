"""`python -m vocab build|inspect RECIPE`. Heavy imports wait until a command runs."""

from __future__ import annotations

import argparse
import sys

from recipe.cli import add_command, run
from recipe.schema import Recipe
from recipe.workdir import Workdir


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m vocab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = add_command(commands, "build", _build, "merge the teachers' vocabularies and rewrite their tokenizers")
    build.add_argument("--force", action="store_true", help="replace a vocabulary that was built for something else")
    add_command(commands, "inspect", _inspect, "show sizes, overlap and segmentation of the merged vocabulary")
    return run(parser, argv)


def _build(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from vocab.build import build

    workdir = Workdir(recipe.workdir)
    vocabulary, built = build(recipe, workdir, arguments.force)
    state = "merged" if built else "up to date,"
    print(
        f"vocab: {state} {vocabulary.size:,} tokens of {len(vocabulary.teachers)} teachers in {workdir.path('vocab')}"
    )


def _inspect(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from vocab.inspect import inspect, sample_documents

    sample = {code: sample_documents(language.corpora) for code, language in recipe.languages.items()}
    for line in inspect(recipe, Workdir(recipe.workdir), sample):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
