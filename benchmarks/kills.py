"""Kill both jobs −9 at random moments and go on, until they are done; the files must be those of a quiet run.

python -m benchmarks.kills --kills 50
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

_JOBS = ("shard", "teach")
# Seconds after its start, from which and until which a job is killed.
_MOMENTS = {"shard": (2.0, 4.0), "teach": (2.0, 7.0)}


def run_killed(job: str, recipe: str, workdir: Path, chance: random.Random, at_most: int) -> int:
    """Run a job to its end, killing it up to `at_most` times at random moments after its imports; how many it were."""
    kills = 0
    while True:
        process = start(job, recipe, workdir)
        if kills < at_most:
            try:
                # From the middle of the imports on, and sometimes so late that it is done.
                process.wait(timeout=chance.uniform(*_MOMENTS[job]))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                continue
        if process.wait(timeout=300):
            raise SystemExit(f"{job} ended with {process.returncode}")
        return kills


def start(job: str, recipe: str, workdir: Path) -> subprocess.Popen[bytes]:
    """Start one job as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", job, recipe, "--workdir", str(workdir)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from tests.conftest import make_teacher, make_text
    from vocab.__main__ import main as vocab

    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_teacher(folder / "teacher", "wordpiece", "es", hidden_size=128, num_hidden_layers=6)
        for number in range(8):
            (folder / f"es-{number}.txt").write_text("\n".join(make_text("es", 4000)[number::8]), encoding="utf-8")
        (folder / "r.yaml").write_text(
            f"name: kills\nworkdir: {folder}/quiet\nteachers: {{t: {{model: {folder}/teacher}}}}\n"
            f"languages: {{es: {{teachers: [t], corpora: ['{folder}/es-*.txt']}}}}\n"
            "sequences: {max_length: 32, shard_size: 64}\n"
        )
        recipe = str(folder / "r.yaml")
        vocab(["build", recipe])
        for job in _JOBS:
            run_killed(job, recipe, folder / "quiet", chance, 0)
        kills = dict.fromkeys(_JOBS, 0)
        rounds = 0
        while sum(kills.values()) < options.kills:
            workdir = folder / "killed"
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.copytree(folder / "quiet/vocab", workdir / "vocab")
            for job in _JOBS:
                kills[job] += run_killed(job, recipe, workdir, chance, 8)
            for part in ("sequences", "targets"):
                ours, theirs = contents(workdir / part), contents(folder / "quiet" / part)
                if different := sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name)):
                    raise SystemExit(f"{part}: bytes that differ from an uninterrupted run's: {', '.join(different)}")
            rounds += 1
            said = ", ".join(f"{count} of {job}" for job, count in kills.items())
            print(f"round {rounds}: {sum(kills.values())} kills ({said}), same bytes", flush=True)


if __name__ == "__main__":
    main()
