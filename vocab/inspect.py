"""`vocab inspect`: the figures of a merged vocabulary as lines of text and as `vocab/report.html`."""

from __future__ import annotations

from dataclasses import asdict

from recipe import MissingExtraError, Recipe, Workdir
from recipe.table import format_table
from vocab.figures import VocabularyFigures


def as_text(figures: VocabularyFigures) -> str:
    """The figures as people read them in a terminal."""
    vocabulary = figures.vocabulary
    names = [f.name for f in figures.teachers]
    teachers = [[f.name, f"{f.size:,}", f"{f.dropped:,}", f"{f.only_here:,}"] for f in figures.teachers]
    pairs = [
        [names[a], names[b], f"{figures.shared[a, b]:,}", f"{100 * figures.overlap[a, b]:.1f} %"]
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]
    languages = [
        [f.language, f"{f.words:,}", f"{f.fertility:.2f}", f"{f.fertility_agnostic:.2f}", f"{100 * f.unknown:.2f} %",
         f"{100 * f.unknown_agnostic:.2f} %", f"{100 * f.agreement:.1f} %"]
        for f in figures.languages
    ]  # fmt: skip
    parts = [f"{vocabulary.size:,} merged tokens, fingerprint {vocabulary.fingerprint[:12]}"]
    parts += [f"  {entry['size']:,} tokens when {entry['change']}" for entry in vocabulary.lineage[:-1]]
    parts.append("\n" + format_table([["teacher", "tokens", "dropped", "only here"], *teachers]))
    if pairs:
        parts.append("\n" + format_table([["teacher", "and", "shared", "of the smaller"], *pairs], left=2))
    if languages:
        header = ["language", "words", "tokens a word", "agnostic", "unknown", "agnostic", "cut alike"]
        parts.append("\n" + format_table([header, *languages]))
    parts += [f"{code}  its corpora cannot be read from here" for code in figures.unread]
    return "\n".join(parts)


def write_page(recipe: Recipe, workdir: Workdir, figures: VocabularyFigures) -> str:
    """Write `vocab/report.html`, one self-contained page, and `vocab/figures.json`; returns where the page lies."""
    vocabulary = figures.vocabulary
    workdir.write_json(
        "vocab/figures.json",
        {
            "size": vocabulary.size,
            "fingerprint": vocabulary.fingerprint,
            "teachers": [asdict(each) for each in figures.teachers],
            "shared": figures.shared.tolist(),
            "languages": [asdict(each) for each in figures.languages],
        },
    )
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader
    except ImportError:
        raise MissingExtraError("jinja2", "report", "vocab/report.html") from None
    loader = ChoiceLoader([PackageLoader(room, ".") for room in ("vocab", "recipe")])
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("report.html").render(
        recipe=recipe,
        vocabulary=vocabulary,
        teachers=figures.teachers,
        shared=figures.shared.tolist(),
        overlap=figures.overlap.tolist(),
        languages=figures.languages,
        unread=figures.unread,
    )
    workdir.write_bytes("vocab/report.html", page.encode())
    return workdir.path("vocab/report.html")
