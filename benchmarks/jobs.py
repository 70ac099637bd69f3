"""The two Beam jobs as a whole: sharding against the tokenizer alone, memory, two workers against one, a finished job.

python -m benchmarks.jobs shard|memory|workers|finished [...]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zstandard

from benchmarks.text import read_lines
from recipe import Source, Workdir, load_recipe

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
_PEAK = "import resource,sys;from pipeline.__main__ import main;code=main(sys.argv[1:]);" + (
    "print('peak',resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024);sys.exit(code)"
)


def write_recipe(folder: Path, teacher: str, corpora: str, extra: str = "") -> str:
    """A recipe with one source, `t/xx`."""
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: jobs\nworkdir: {folder}/work\nteachers: {{t: {{model: {teacher}}}}}\n"
        f"languages: {{xx: {{teachers: [t], corpora: ['{corpora}']}}}}\n{extra}\n"
    )
    return str(path)


def shard(data: Path) -> None:
    """Seconds of the shard job and of its tokenizer alone, on the same text and one thread."""
    from pipeline.shard import shard as run
    from recipe import Teacher
    from vocab.load import load_tokenizer

    print("sharding against the tokenizer alone, one thread, median of 3 in turn, each text five times over")
    for language, vocabulary in (("hi", "bert-base-multilingual-cased"), ("fi", "finbert-cased"), ("tr", "wiki-tr-sp")):
        content = (
            zstandard.ZstdDecompressor().stream_reader((data / "text" / f"{language}.txt.zst").read_bytes()).read()
        )
        # Another number in front makes other documents.
        lines = [f"{number} {line}" for number in range(5) for line in content.decode().splitlines()]
        tokenizer = load_tokenizer("t", Teacher(model=str(data / "vocabs" / vocabulary)))
        alone, usual, job = list[float](), list[float](), list[float]()
        with tempfile.TemporaryDirectory() as temporary:
            text = Path(temporary) / "text.txt.zst"
            text.write_bytes(zstandard.compress("\n".join(lines).encode()))
            recipe = load_recipe(write_recipe(Path(temporary), str(data / "vocabs" / vocabulary), str(text)))
            run(recipe, Workdir(recipe.workdir), Source("t", "xx"), "DirectRunner", [])
            for _ in range(3):
                began = time.perf_counter()
                for at in range(0, len(lines), 1000):
                    tokenizer.backend_tokenizer.encode_batch_fast(lines[at : at + 1000], add_special_tokens=False)
                alone.append(time.perf_counter() - began)
                began = time.perf_counter()
                for at in range(0, len(lines), 1000):
                    tokenizer(lines[at : at + 1000], add_special_tokens=False, verbose=False)
                usual.append(time.perf_counter() - began)
                began = time.perf_counter()
                run(recipe, Workdir(recipe.workdir), Source("t", "xx"), "DirectRunner", [], force=True)
                job.append(time.perf_counter() - began)
        a, u, b = (sorted(times)[1] for times in (alone, usual, job))
        print(
            f"  {language}, {vocabulary:30} job {b:.2f} s; encode_batch_fast {a:.2f} s: {a / b:.2f} of its speed; "
            f"tokenizer(lines) {u:.2f} s: {u / b:.2f}",
            flush=True,
        )


def memory(data: Path) -> None:
    """Peak memory of the shard job on 14 MB and on ten times that."""
    print("peak memory of the shard job, one process")
    lines = read_lines(data / "text" / "hi.txt.zst", 10**9)
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            with (folder / "text.txt").open("w", encoding="utf-8") as stream:
                for number in range(times):
                    # Another number in front makes other documents.
                    stream.writelines(f"{number} {line}\n" for line in lines)
            path = write_recipe(folder, str(data / "vocabs" / "bert-base-multilingual-cased"), str(folder / "text.txt"))
            size = (folder / "text.txt").stat().st_size / 1e6
            peaks = []
            for arguments in (["shard", path], ["status", path]):
                said = subprocess.run(
                    [sys.executable, "-c", _PEAK, *arguments], capture_output=True, text=True, check=True
                )
                peaks.append(int(re.findall(r"peak (\d+)", said.stdout)[-1]))
            print(
                f"  {size:6.1f} MB of text: {peaks[0]} MiB ({peaks[1]} MiB for a command that only looks)", flush=True
            )


def workers(shards: int) -> None:
    """Shards a second of one worker process and of two, one thread each, from the times at which shards appear."""
    from transformers import BertConfig, BertForMaskedLM

    from recipes.tiny_tokenizer import train_tokenizer
    from tests.conftest import make_text

    print("one worker process against two, one thread each")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = make_text("es", 150)
        tokenizer = train_tokenizer("wordpiece", text, 200)
        tokenizer.save_pretrained(folder / "teacher")
        config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=4)
        BertForMaskedLM(config).save_pretrained(folder / "teacher")
        (folder / "text.txt").write_text(
            "\n".join(f"{n} {text[n % 150]}" for n in range(40 * shards)), encoding="utf-8"
        )
        extra = "sequences: {max_length: 32, shard_size: 40, heldout: 0.0, min_chars: 1}"
        path = write_recipe(folder, str(folder / "teacher"), str(folder / "text.txt"), extra)
        call("vocab", "build", path)
        call("pipeline", "shard", path)
        rates = {}
        for count in (1, 2):
            options = ["--", "--direct_running_mode=multi_processing", f"--direct_num_workers={count}"]
            call("pipeline", "teach", path, "--force", *options, threads=1)
            rows = (folder / "work/targets/t/xx/manifest").iterdir()
            times = sorted(row.stat().st_mtime for row in rows)[count:]
            rates[count] = (len(times) - 1) / (times[-1] - times[0])
        print(f"  {rates[1]:.2f} and {rates[2]:.2f} shards/s: {rates[2] / rates[1]:.2f} ×")


def finished(shards: int) -> None:
    """Seconds of a teach command that finds nothing left to do."""
    from tests.conftest import make_teacher, make_text

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_teacher(folder / "teacher", "wordpiece", "es", hidden_size=16, num_hidden_layers=1)
        text = make_text("es", 150)
        (folder / "text.txt").write_text("\n".join(f"{n} {text[n % 150]}" for n in range(shards)), encoding="utf-8")
        extra = "sequences: {max_length: 128, shard_size: 1, heldout: 0.0, min_chars: 1}"
        path = write_recipe(folder, str(folder / "teacher"), str(folder / "text.txt"), extra)
        call("vocab", "build", path)
        call("pipeline", "shard", path)
        began = time.perf_counter()
        call("pipeline", "teach", path, threads=1)
        taught = time.perf_counter() - began
        made = len(list((folder / "work/targets/t/xx").glob("part-*")))
        began = time.perf_counter()
        call("pipeline", "teach", path)
        nothing = time.perf_counter() - began
        print(f"{made:,} shards: taught in {taught:.0f} s; the same command again, nothing left: {nothing:.1f} s")


def call(module: str, *arguments: str, threads: int | None = None) -> None:
    """Run one command of ours in a process of its own."""
    env = {**os.environ, **(_ONE_THREAD if threads == 1 else {})}
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.DEVNULL, env=env)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("shard", "memory", "workers", "finished"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with vocabs/ and text/")
    parser.add_argument("--shards", type=int, default=10_000, help="for `finished`")
    options = parser.parse_args()
    os.environ.update(_ONE_THREAD)
    for what in options.what:
        if what == "shard":
            shard(options.data)
        elif what == "memory":
            memory(options.data)
        elif what == "workers":
            workers(120)
        else:
            finished(options.shards)


if __name__ == "__main__":
    main()
