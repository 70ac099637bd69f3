"""What merging vocabularies costs, and what it buys.

python -m benchmarks.vocabulary            # the 13 public vocabularies, then 10, 20 and 40 made-up ones
python -m benchmarks.vocabulary --pairs    # tokens shared by each pair, by surface and by canonical identity
python -m benchmarks.vocabulary --agnostic # the constructions of the language-agnostic tokenizer on real text
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.text import read_lines
from recipe import Teacher, Workdir
from vocab.agnostic import build_agnostic, choose_construction
from vocab.figures import language_figures, load_saved
from vocab.folder import write_folder
from vocab.identity import TeacherVocabulary, read_identities
from vocab.load import load_tokenizer
from vocab.merge import merge_vocabularies
from vocab.rewrite import rewrite_tokenizer

# Sets of (language, vocabulary): from all WordPiece to none.
SETS = {
    "4 of 5 WordPiece": {"en": "bert-base-cased", "es": "beto", "hi": "bert-base-multilingual-cased",
                         "fi": "finbert-cased", "tr": "wiki-tr-sp"},
    "3 of 5 WordPiece": {"en": "roberta-base", "es": "beto", "de": "bert-base-multilingual-cased",
                         "fi": "finbert-cased", "tr": "wiki-tr-sp"},
    "2 of 4 WordPiece": {"en": "roberta-base", "es": "beto", "fi": "finbert-cased", "tr": "wiki-tr-sp"},
    "1 of 4 WordPiece": {"en": "roberta-base", "es": "llama2-sp-bpe", "fi": "finbert-cased", "tr": "wiki-tr-sp"},
    "no WordPiece": {"en": "roberta-base", "es": "llama2-sp-bpe", "tr": "wiki-tr-sp"},
    "Unigram only": {"en": "t5-small", "tr": "wiki-tr-sp"},
}  # fmt: skip


def load(vocabularies: Path, names: list[str]) -> dict[str, Any]:
    """The tokenizers of some folders."""
    return {name: load_tokenizer(name, Teacher(model=str(vocabularies / name))) for name in names}


def merge_public(vocabularies: Path) -> dict[str, float]:
    """Seconds and MiB for loading, reading and merging every vocabulary of the folder, imports excluded."""
    import sentencepiece  # noqa: F401
    from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast  # noqa: F401
    from transformers.tokenization_utils_base import generate_merges  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    tokenizers = load(vocabularies, sorted(path.name for path in vocabularies.iterdir() if path.is_dir()))
    loaded = time.perf_counter()
    merged = merge_vocabularies([read_identities(*item) for item in tokenizers.items()])
    return {
        "teachers": len(tokenizers),
        "tokens": sum(map(len, merged.remaps.values())),
        "merged": len(merged.identities),
        "load": loaded - began,
        "merge": time.perf_counter() - loaded,
        "imports_mib": before / 1024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def merge_made(teachers: int, tokens: int = 100_000) -> dict[str, float]:
    """The same for made-up WordPiece vocabularies that share about half of their tokens, one in memory at a time."""
    from transformers import BertTokenizer

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    seconds, read = 0.0, []
    for number in range(teachers):
        random = np.random.default_rng(number)
        common = (f"{n:x}" for n in random.choice(4 * tokens, tokens // 2, replace=False))
        own = (f"##{number}x{n:x}" for n in range(tokens - tokens // 2 - len(marks)))
        vocabulary = {token: at for at, token in enumerate([*marks, *common, *own])}
        began = time.perf_counter()
        read.append(read_identities(f"t{number}", BertTokenizer(vocab=vocabulary, do_lower_case=False)))
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    merged = merge_vocabularies(read)
    seconds += time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"teachers": teachers, "merged": len(merged.identities), "seconds": seconds, "peak_mib": peak}


def load_times(vocabularies: Path, repeats: int = 3) -> None:
    """Print how long `AutoTokenizer` takes for each teacher's own folder and for its rewritten one."""
    from transformers import AutoTokenizer

    tokenizers = load(vocabularies, sorted(path.name for path in vocabularies.iterdir() if path.is_dir()))
    merged = merge_vocabularies([read_identities(*item) for item in tokenizers.items()])
    size = len(merged.identities)
    print(f"\nAutoTokenizer.from_pretrained, best of {repeats}: own folder, rewritten one of {size:,} tokens")
    with tempfile.TemporaryDirectory() as temporary:
        for name, tokenizer in tokenizers.items():
            own, ours = f"{temporary}/own", f"{temporary}/ours"
            tokenizer.save_pretrained(own)
            write_folder(Workdir(ours), "", rewrite_tokenizer(tokenizer, merged.remaps[name], size))
            best = dict.fromkeys((own, ours), math.inf)
            for _ in range(repeats):
                for folder in best:
                    began = time.perf_counter()
                    AutoTokenizer.from_pretrained(folder)
                    best[folder] = min(best[folder], time.perf_counter() - began)
            print(
                f"  {name:30} {len(tokenizer):7,} tokens {best[own]:.3f} s  {best[ours]:.3f} s  "
                f"{best[ours] / best[own]:5.1f} ×"
            )


def pairs(vocabularies: Path) -> None:
    """Print, for each pair, the tokens shared by surface and by canonical identity, as Markdown."""
    tokenizers = load(vocabularies, sorted(path.name for path in vocabularies.iterdir() if path.is_dir()))
    sets: dict[str, dict[str, set[Any]]] = {}
    for match in ("surface", "canonical"):
        read = [read_identities(name, tokenizer, match) for name, tokenizer in tokenizers.items()]
        print(f"{match}: {len(merge_vocabularies(read).identities):,} merged tokens")
        sets[match] = {each.name: {i for i in each.identities if i is not None} for each in read}
    print("\n| pair | by surface | canonical | |\n|---|---|---|---|")
    for a, b in combinations(tokenizers, 2):
        surface, canonical = (len(sets[match][a] & sets[match][b]) for match in ("surface", "canonical"))
        print(f"| {a}, {b} | {surface:,} | {canonical:,} | {canonical / surface:.1f} × |")


def agnostic(data: Path, lines: int = 1000) -> None:
    """Print how often each construction cuts words as the exact tokenizer does, as Markdown."""
    print("| teachers | language | WordPiece | Unigram, ranks | Unigram, counts | chosen |\n|---|---|---|---|---|---|")
    for title, languages in SETS.items():
        tokenizers = load(data / "vocabs", list(dict.fromkeys(languages.values())))
        read = [read_identities(*item) for item in tokenizers.items()]
        rows = _agreement(data / "text", languages, tokenizers, read, lines)
        chosen = choose_construction(read)
        means = np.mean(list(rows.values()), axis=0)
        for language, shares in [*rows.items(), ("mean", means)]:
            cells = " | ".join(f"{100 * share:.1f}" for share in shares)
            print(f"| {title} | {language} | {cells} | {chosen if language == 'mean' else ''} |", flush=True)


def _agreement(
    text: Path, languages: dict[str, str], tokenizers: dict[str, Any], read: list[TeacherVocabulary], lines: int
) -> dict[str, list[float]]:
    merged = merge_vocabularies(read)
    with tempfile.TemporaryDirectory() as temporary:
        workdir = Workdir(temporary)
        exact = {}
        for name, tokenizer in tokenizers.items():
            write_folder(workdir, name, rewrite_tokenizer(tokenizer, merged.remaps[name], len(merged.identities)))
            exact[name] = load_saved(workdir, name)
        counts = np.zeros(len(merged.identities))
        for language, name in languages.items():
            taught = read_lines(text / f"{language}.txt.zst", 4 * lines)
            ids = np.concatenate(exact[name](taught, add_special_tokens=False)["input_ids"]).astype(np.int64)
            counts += np.bincount(ids, minlength=len(counts)) / len(ids)
        ways = {}
        for construction in ("wordpiece", "unigram"):
            files = build_agnostic(merged.spelled, merged.remaps, construction)
            write_folder(workdir, construction, files)
            ways[construction] = load_saved(workdir, construction)
        state = json.loads(files["tokenizer.json"])
        scores = np.log(np.maximum(counts / counts.sum(), 1e-9)).tolist()
        state["model"]["vocab"] = [
            [piece, score] for (piece, _), score in zip(state["model"]["vocab"], scores, strict=True)
        ]
        write_folder(workdir, "fitted", {**files, "tokenizer.json": json.dumps(state).encode()})
        ways["fitted"] = load_saved(workdir, "fitted")
        return {
            language: [
                language_figures(
                    language, exact[name], way, read_lines(text / f"{language}.txt.zst", lines, 20_000)
                ).agreement
                for way in ways.values()
            ]
            for language, name in languages.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with vocabs/ and text/")
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--agnostic", action="store_true")
    options = parser.parse_args()
    if options.pairs:
        pairs(options.data / "vocabs")
    elif options.agnostic:
        agnostic(options.data)
    else:
        costs(options.data / "vocabs")


def costs(vocabularies: Path) -> None:
    """Print what merging and loading cost."""
    # A process each, so that memory is each one's own.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        f = pool.submit(merge_public, vocabularies).result()
        imports = f"{f['imports_mib']:.0f} of it imports"
        print(
            f"{f['teachers']} public vocabularies, {f['tokens']:,} tokens → {f['merged']:,}: {f['load']:.2f} s to "
            f"load, {f['merge']:.2f} s to read and merge; peak {f['peak_mib']:.0f} MiB, {imports}"
        )
        for teachers in (10, 20, 40):
            f = pool.submit(merge_made, teachers).result()
            print(
                f"{teachers} made-up vocabularies of 100,000 → {f['merged']:,}: {f['seconds']:.1f} s, "
                f"{f['seconds'] / teachers:.2f} s each; peak {f['peak_mib']:.0f} MiB"
            )
    load_times(vocabularies)


if __name__ == "__main__":
    main()
