"""The proof behind the merged vocabulary: rewritten tokenizers give remap[teacher ids] on real and on hostile text.

    python -m benchmarks.exactness --lines 20000 --jobs 2

Merges all vocabularies of a folder, rewrites each tokenizer, loads it with `AutoTokenizer`, and compares ids, offsets,
word ids and decoded text with the teacher's own, line by line. Also times both, in turn. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import numpy.typing as npt

from benchmarks.text import read_lines
from recipe import Teacher, Workdir
from vocab.folder import write_folder
from vocab.identity import read_identities
from vocab.load import load_tokenizer
from vocab.merge import merge_vocabularies
from vocab.rewrite import rewrite_tokenizer

_BLOCK = 500


@dataclass
class Compared:
    """What was compared of one tokenizer, and how many lines differed in which respect."""

    lines: int = 0
    tokens: int = 0
    ids: int = 0
    offsets: int = 0
    words: int = 0
    text: int = 0
    unmapped: int = 0
    own_seconds: float = 0.0
    exact_seconds: float = 0.0

    @property
    def differences(self) -> int:
        return self.ids + self.offsets + self.words + self.text


def compare(own: Any, exact: Any, remap: npt.NDArray[np.int32], lines: list[str], found: Compared) -> None:
    """Add lines to `found`: what the teacher's tokenizer and its rewritten one (both fast tokenizers' backends) say."""
    for number, at in enumerate(range(0, len(lines), _BLOCK)):
        block = lines[at : at + _BLOCK]
        # Who goes first alternates: the second finds the text in the cache.
        seconds: dict[str, float] = {}
        said: dict[str, Any] = {}
        for name in ("own", "exact") if number % 2 else ("exact", "own"):
            began = time.perf_counter()
            said[name] = (own if name == "own" else exact).encode_batch(block)
            seconds[name] = time.perf_counter() - began
        found.own_seconds += seconds["own"]
        found.exact_seconds += seconds["exact"]
        found.lines += len(block)
        texts = (own.decode_batch([e.ids for e in said["own"]]), exact.decode_batch([e.ids for e in said["exact"]]))
        for theirs, ours, before, after in zip(said["own"], said["exact"], *texts, strict=True):
            merged = remap[theirs.ids].tolist()
            found.tokens += len(merged)
            if -1 in merged:
                found.unmapped += 1
                continue
            found.ids += merged != ours.ids
            found.offsets += theirs.offsets != ours.offsets
            found.words += theirs.word_ids != ours.word_ids
            found.text += before != after


def hostile_text(count: int, seed: int = 0) -> list[str]:
    """Lines from alphabets that break tokenizers: emoji, joiners, combining marks, right-to-left, private use."""
    random = np.random.default_rng(seed)
    ranges = [
        (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x590, 0x600), (0x600, 0x700), (0x900, 0x980), (0xE00, 0xE80),
        (0x1100, 0x1200), (0x2000, 0x2070), (0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xE000, 0xE100),
        (0xFE00, 0xFE10), (0xFF00, 0xFFF0), (0x1F300, 0x1F700), (0x1F900, 0x1FA00), (0x20000, 0x20100),
        (0xE0100, 0xE01F0),
    ]  # fmt: skip
    glue = [
        "\u200d",
        "\u200c",
        "\ufe0f",
        "\n",
        "\r\n",
        "\t",
        "\x00",
        "\u202e",
        "\ufeff",
        "▁",
        "Ġ",
        "##",
        " ",
        "  ",
        "ﬁ",
    ]
    marks = ["[MASK]", "<mask>", "[CLS]", "</s>", "[PAD", "<0x41>", "<unk>", "[UNK]"]
    lines = []
    for _ in range(count):
        parts = []
        for _ in range(int(random.integers(1, 40))):
            low, high = ranges[int(random.integers(len(ranges)))]
            parts.append("".join(map(chr, random.integers(low, high, int(random.integers(1, 6))))))
            if random.random() < 0.5:
                parts.append(str(random.choice(glue)))
            if random.random() < 0.02:
                parts.append(str(random.choice(marks)))
        lines.append("".join(parts))
    return [
        *lines,
        "x" * 10_000,
        "é" * 10_000,
        "字" * 10_000,
        "a\u0301" * 5_000,
        "\U0001f469\u200d" * 5_000,
        "",
        "\n",
        " ",
    ]


def prepare(vocabularies: Path, folder: Path) -> dict[str, npt.NDArray[np.int32]]:
    """Merge all vocabularies and write their rewritten tokenizers below `folder`; the remaps."""
    names = sorted(path.name for path in vocabularies.iterdir() if path.is_dir())
    tokenizers = {name: load_tokenizer(name, Teacher(model=str(vocabularies / name))) for name in names}
    merged = merge_vocabularies([read_identities(*item) for item in tokenizers.items()])
    for name, tokenizer in tokenizers.items():
        files = rewrite_tokenizer(tokenizer, merged.remaps[name], len(merged.identities))
        write_folder(Workdir(str(folder)), name, files)
    return merged.remaps


def prove(
    name: str, vocabularies: Path, folder: Path, remap: npt.NDArray[np.int32], text: Path, lines: int
) -> Compared:
    """Compare one vocabulary on every text file (the first and every n-th line after) and on hostile text."""
    from transformers import AutoTokenizer

    own = load_tokenizer(name, Teacher(model=str(vocabularies / name))).backend_tokenizer
    exact = AutoTokenizer.from_pretrained(folder / name).backend_tokenizer
    own.no_padding(), own.no_truncation()
    found = Compared()
    for path in sorted(text.glob("*.txt.zst")):
        compare(own, exact, remap, read_lines(path, lines), found)
    compare(own, exact, remap, hostile_text(min(lines, 5000)), found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with vocabs/ and text/")
    parser.add_argument("--lines", type=int, default=1000, help="lines of each language")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    vocabularies, text = options.data / "vocabs", options.data / "text"
    languages = len(list(text.glob("*.txt.zst")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        remaps = prepare(vocabularies, folder)
        with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
            jobs = {
                name: pool.submit(prove, name, vocabularies, folder, remap, text, options.lines)
                for name, remap in remaps.items()
            }
            print(f"{len(jobs)} vocabularies, {languages} languages × {options.lines:,} lines, and hostile text\n")
            print("| vocabulary | lines | tokens | ids | offsets | word ids | decoded | not mapped | speed |")
            print("|---|---|---|---|---|---|---|---|---|")
            total = Compared()
            for name, job in jobs.items():
                f = job.result()
                print(
                    f"| {name} | {f.lines:,} | {f.tokens:,} | {f.ids} | {f.offsets} | {f.words} | {f.text} "
                    f"| {f.unmapped} | {f.own_seconds / f.exact_seconds:.2f} × |",
                    flush=True,
                )
                total.lines, total.tokens = total.lines + f.lines, total.tokens + f.tokens
                total.ids += f.differences
    print(f"\n{total.lines:,} lines, {total.tokens:,} tokens, {total.ids} differences")


if __name__ == "__main__":
    main()
