"""`LANG` is the shell's locale too: make must tell the two apart."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def dry(tmp_path: Path) -> Callable[..., str]:
    """What make would run, with an environment that is already there."""
    ready = tmp_path / "ready"
    ready.touch()

    def run(*arguments: str, **environment: str) -> str:
        command = ["make", "--no-print-directory", "-n", f"READY={ready}", *arguments]
        variables = {**os.environ, **environment}
        return subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    return run


def test_a_language_on_the_command_line_reaches_the_command(dry: Callable[..., str]) -> None:
    assert "--lang hi" in dry("teacher-logits", "LANG=hi")
    assert "--lang hi" in dry("shards", "LANG=hi")


def test_the_shells_locale_is_no_language(dry: Callable[..., str]) -> None:
    assert "--lang" not in dry("teacher-logits", LANG="en_US.UTF-8")
    assert "--lang" not in dry("teacher-logits", LANG="hi")


def test_a_child_does_not_inherit_the_language_as_its_locale(tmp_path: Path) -> None:
    (tmp_path / "makefile").write_text(f"include {ROOT}/Makefile\nshow:\n\t@echo child=[$$LANG]\n")
    command = ["make", "--no-print-directory", "-s", "-C", str(tmp_path), "show", "LANG=hi"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "child=[]"


def test_help_lists_every_target_with_a_line() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    described = {line.split()[1] for line in shown.splitlines() if line.startswith("  make ") and len(line.split()) > 3}
    assert {"setup", "demo", "test", "lint", "bench", "vocab", "shards", "teacher-logits"} <= described
    assert {"train-student", "evaluate", "report", "help"} <= described
