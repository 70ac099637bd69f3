"""`python -m student train|evaluate|export|report RECIPE`. Heavy imports wait until a command runs."""

from __future__ import annotations

import argparse
import os
import sys

from recipe.cli import add_command, run
from recipe.schema import Recipe
from recipe.workdir import Workdir


def main(argv: list[str] | None = None) -> int:
    """Run one command of the learn stage and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m student", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_command(commands, "train", _train, "train the student (and its control) on the targets, and export it")
    add_command(commands, "evaluate", _evaluate, "score student, control and teachers on held-out sequences")
    add_command(commands, "export", _export, "write the newest checkpoint as a Hugging Face folder")
    add_command(commands, "report", _report, "write report/index.html")
    return run(parser, argv)


def _runs(recipe: Recipe) -> tuple[str, ...]:
    return ("student", "control") if recipe.evaluation.control else ("student",)


def _without_transformers_bars() -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _train(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from student.train import train

    _without_transformers_bars()
    workdir = Workdir(recipe.workdir)
    for name in _runs(recipe):
        progress = train(recipe, workdir, name)
        if os.environ.get("RANK", "0") == "0":  # torchrun starts this command many times
            print(f"{name}: {progress.step:,} steps, {progress.tokens:,} tokens; model in {workdir.path(name)}/export")


def _evaluate(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from student.evaluate import evaluate, format_scores

    _without_transformers_bars()
    workdir = Workdir(recipe.workdir)
    print(format_scores(evaluate(recipe, workdir)))
    print(f"\nalso in {workdir.path('report')}/evaluation.json and .csv")


def _export(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from student.train import export_newest

    _without_transformers_bars()
    print(export_newest(recipe, Workdir(recipe.workdir)))


def _report(recipe: Recipe, arguments: argparse.Namespace) -> None:
    from student.report import write_report

    print(f"report: {write_report(recipe, Workdir(recipe.workdir))}")


if __name__ == "__main__":
    sys.exit(main())
