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
    add_command(commands, "inspect", _inspect, "show sizes, overlap and segmentation, also as vocab/report.html")
    prune = add_command(commands, "prune", _prune, "drop tokens that the corpora use less than vocab.min_count times")
    prune.add_argument("--force", action="store_true", help="even if targets must then be made again")
    return run(parser, argv)


def _build(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from vocab.build import build

    workdir = Workdir(recipe.workdir)
    vocabulary, done = build(recipe, workdir, arguments.force)
    teachers = f"{vocabulary.size:,} tokens of {len(vocabulary.teachers)} teachers in {workdir.path('vocab')}"
    print(f"vocab: {done}{',' if done == 'up to date' else ' to'} {teachers}")
    if recipe.vocab.min_count and not any("pruned" in entry["change"] for entry in vocabulary.lineage):
        print("vocab: to be pruned (vocab.min_count): after `python -m pipeline shard`, run `python -m vocab prune`")


def _inspect(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from vocab.figures import figures_of
    from vocab.inspect import as_text, write_page

    workdir = Workdir(recipe.workdir)
    figures = figures_of(recipe, workdir)
    print(as_text(figures))
    print(f"\n{write_page(recipe, workdir, figures)}")


def _prune(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from vocab.prune import prune

    workdir = Workdir(recipe.workdir)
    done = prune(recipe, workdir, arguments.force)
    if done is None:
        print(f"vocab: already pruned in {workdir.path('vocab')}")
        return
    print(f"vocab: {done.before:,} tokens, of which {done.before - done.after:,} dropped: {done.after:,} are left")
    for source, mass in done.mass.items():
        print(f"  {source}: {100 * mass:.4f} % of the tokens in its text are lost")


if __name__ == "__main__":
    sys.exit(main())
