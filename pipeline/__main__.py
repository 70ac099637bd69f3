"""`python -m pipeline shard|teach|status|plan|verify RECIPE`. Heavy imports wait until a command runs."""

from __future__ import annotations

import argparse
import sys

from recipe.cli import add_command, run
from recipe.errors import MergeDistillError
from recipe.schema import Recipe, Source
from recipe.workdir import Workdir


def main(argv: list[str] | None = None) -> int:
    """Run one command of the teach stage and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, handler, summary in (
        ("shard", _shard, "clean, split and pack the corpora of every source into sequence shards"),
        ("teach", _teach, "run each teacher once over its sequences and store its targets"),
        ("status", _status, "show what is done"),
        ("plan", _plan, "estimate time and bytes of teaching from a timed sample"),
        ("verify", _verify, "check every finished target shard"),
    ):
        command = add_command(commands, name, handler, summary)
        command.add_argument("--lang", metavar="CODE", help="only this language")
        command.add_argument("--teacher", metavar="NAME", help="only this teacher")
        if name == "plan":
            command.add_argument("--workers", metavar="N", type=int, default=1, help="for so many such machines")
        if name in ("shard", "teach"):
            command.add_argument("--runner", default="DirectRunner", help="Beam runner; its options go after --")
            command.add_argument("--force", action="store_true", help="replace what was made from something else")
            if name == "teach":
                command.add_argument("--redo", metavar="SHARD", action="append", default=[], help="teach it again")
            command.usage = command.format_usage().removeprefix("usage: ").rstrip() + " [-- BEAM OPTIONS]"
    return run(parser, argv)


def _sources(recipe: Recipe, arguments: argparse.Namespace) -> tuple[Workdir, tuple[Source, ...]]:
    return Workdir(recipe.workdir), recipe.sources(arguments.lang, arguments.teacher)


def _shard(recipe: Recipe, arguments: argparse.Namespace) -> int:
    workdir, sources = _sources(recipe, arguments)
    from pipeline.shard import shard

    for source in sources:
        print(shard(recipe, workdir, source, arguments.runner, arguments.passed_on, arguments.force), flush=True)
    return 0


def _teach(recipe: Recipe, arguments: argparse.Namespace) -> int:
    workdir, sources = _sources(recipe, arguments)
    from pipeline.teach_job import teach

    code = 0
    for source in sources:
        redo = tuple(arguments.redo)
        summary = teach(recipe, workdir, source, arguments.runner, arguments.passed_on, arguments.force, redo)
        print(summary, flush=True)
        for failure in summary.failures:
            print(f"error: {failure.shard}: {failure.error}", file=sys.stderr)
        if summary.failures:
            code = 2 if code != 1 and all(failure.mendable for failure in summary.failures) else 1
    return code


def _status(recipe: Recipe, arguments: argparse.Namespace) -> int:
    workdir, sources = _sources(recipe, arguments)
    from pipeline.status import status_table
    from recipe.table import format_table

    print(format_table(status_table(recipe, workdir, sources)))
    return 0


def _plan(recipe: Recipe, arguments: argparse.Namespace) -> int:
    workdir, sources = _sources(recipe, arguments)
    from pipeline.plan import estimate, total

    estimates = []
    for source in sources:
        estimates.append(estimate(recipe, workdir, source))
        print(estimates[-1], flush=True)
    print(total(estimates, arguments.workers))
    return 0


def _verify(recipe: Recipe, arguments: argparse.Namespace) -> int:
    workdir, sources = _sources(recipe, arguments)
    from pipeline.verify import verify

    bad = total = 0
    for source in sources:
        for shard, problem in verify(recipe, workdir, source):
            total += 1
            if problem:
                bad += 1
                redo = f" --redo {shard}" if shard else ""
                print(
                    f"{problem}\n  mend: python -m pipeline teach {arguments.recipe} --lang {source.language} "
                    f"--teacher {source.teacher}{redo}"
                )
    print(f"{total - bad} of {total} shards are sound")
    if bad:
        raise MergeDistillError(f"{bad} of {total} shards are not sound; the commands above redo them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
