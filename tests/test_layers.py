"""Who may import whom, and how light the commands' help is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "recipe": set(),
    "vocab": {"recipe"},
    "targets": {"recipe"},
    "pipeline": {"recipe", "vocab", "targets"},
    "student": {"recipe", "vocab", "targets"},
}
ROOMS = set(ALLOWED)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        if path == ROOT / "recipe" / "main.py":  # the one command that dispatches to every room
            continue
        assert imports(path) & ROOMS <= ALLOWED[room] | {room}, path


def test_beam_stays_out_of_the_student_and_of_teaching_itself() -> None:
    free = [*(ROOT / "student").rglob("*.py"), *(ROOT / "targets").rglob("*.py")]
    free += [ROOT / "pipeline" / f"{name}.py" for name in ("teach", "teacher", "mask", "sparse", "sequences")]
    for path in free:
        assert "apache_beam" not in imports(path), path


@pytest.mark.parametrize("command", ["vocab", "pipeline", "student", "vocab build", "pipeline teach", "student train"])
def test_help_imports_nothing_heavy(command: str) -> None:
    room, *rest = command.split()
    code = (
        f"import sys, runpy; sys.argv = ['x', *{rest!r}, '--help']\n"
        "try: runpy.run_module(" + repr(room) + ", run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'torch', 'transformers', 'apache_beam'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60, stdout=subprocess.DEVNULL)


def test_every_recipe_that_ships_is_valid() -> None:
    from recipe import load_recipe

    for path in (ROOT / "recipes").glob("*.yaml"):
        assert load_recipe(path).sources()
