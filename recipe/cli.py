"""What every command shares: the options of the contract, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from recipe.errors import MergeDistillError, WorkerLostError
from recipe.load import load_recipe
from recipe.schema import Recipe

Handler = Callable[[Recipe, argparse.Namespace], int | None]


def add_command(commands: Any, name: str, handler: Handler, summary: str) -> argparse.ArgumentParser:
    """Add a subcommand that takes RECIPE, --workdir and --set, and calls `handler(recipe, arguments)`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file that describes the merge")
    parser.add_argument("--workdir", metavar="URL", help="use this working directory, not the recipe's")
    parser.add_argument(
        "--set", metavar="KEY.SUB=VALUE", action="append", default=[], dest="overrides", help="override a recipe key"
    )
    parser.set_defaults(handler=handler)
    return parser


def run(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Parse, load the recipe, run the command. Exit codes: 0 done, 1 some work failed, 2 bad input, 130 Ctrl-C.

    What follows a bare `--` is not ours: it reaches the handler as `arguments.passed_on`.
    """
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:cut])
    arguments.passed_on = argv[cut + 1 :]
    try:
        recipe = load_recipe(arguments.recipe, arguments.overrides, arguments.workdir)
        return arguments.handler(recipe, arguments) or 0
    except MergeDistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, WorkerLostError) else 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept; run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
