"""`report/index.html`: one self-contained page that shows what was merged and how well it went."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from recipe import MissingExtraError, Recipe, StudentError, Workdir
from student.evaluate import Score
from student.figures import bars, learning_curves
from student.metrics import read_metrics
from student.run_folder import RunFolder
from targets import read_manifest
from vocab.store import read_vocabulary


def write_report(recipe: Recipe, workdir: Workdir) -> str:
    """Render the page from what is on disk and return where it lies. Needs `student evaluate` to have run."""
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader
    except ImportError:
        raise MissingExtraError("jinja2", "report", "the report") from None

    records = workdir.read_json("report/evaluation.json")
    if records is None:
        raise StudentError(
            f"{workdir.path('report')}/evaluation.json: is missing; run `python -m student evaluate RECIPE` first"
        )
    scores = [Score(**record) for record in records]
    runs = {
        name: read_metrics(RunFolder.open(workdir, name).local / "metrics.jsonl")
        for name in ("student", "control")
        if workdir.exists(f"{name}/metrics.jsonl")
    }
    loader = ChoiceLoader([PackageLoader(room, ".") for room in ("student", "recipe")])
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True)
    figures = {
        "accuracy": bars(scores, "accuracy", "masked accuracy, %", 100.0),
        "nll": bars(scores, "nll", "NLL, nats (lower is better)"),
    }
    if any(runs.values()):
        figures["learning-curves"] = learning_curves(runs)
    for name, figure in figures.items():
        workdir.write_bytes(f"report/{name}.svg", figure.encode())
    page = environment.get_template("report.html").render(
        recipe=recipe,
        summary=summary_line(scores),
        models=list(dict.fromkeys("teacher" if s.model.startswith("teacher") else s.model for s in scores)),
        sources=list(dict.fromkeys((score.language, score.teacher) for score in scores)),
        table=_table(scores),
        figures=figures,
        storage=_storage(recipe, workdir),
        vocabulary_size=read_vocabulary(workdir, recipe).size,
        settings=json.dumps(recipe.model_dump(), indent=2, ensure_ascii=False),
        runs={name: records[-1] for name, records in runs.items() if records},
    )
    workdir.write_bytes("report/index.html", page.encode())
    return workdir.path("report/index.html")


def summary_line(scores: list[Score]) -> str:
    """One sentence: the student's held-out accuracy against its teachers' and its control's, averaged over sources."""

    def mean(model: str, field: str) -> float:
        values = [getattr(score, field) for score in scores if score.model.split()[0] == model]
        return float(sum(values) / len(values)) if values else float("nan")

    line = (
        f"Student {100 * mean('student', 'accuracy'):.1f} % masked accuracy, NLL {mean('student', 'nll'):.2f}; "
        f"its teachers {100 * mean('teacher', 'accuracy'):.1f} %, {mean('teacher', 'nll'):.2f}"
    )
    if any(score.model == "control" for score in scores):
        line += f"; without distillation {100 * mean('control', 'accuracy'):.1f} %, {mean('control', 'nll'):.2f}"
    return line + f" (held-out documents, mean over {len({(s.language, s.teacher) for s in scores})} sources)."


def _table(scores: list[Score]) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """model → source → the score's fields, with the best of each column marked."""
    table: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for score in scores:
        model = "teacher" if score.model.startswith("teacher") else score.model
        peers = [other for other in scores if (other.language, other.teacher) == (score.language, score.teacher)]
        table.setdefault(model, {})[(score.language, score.teacher)] = {
            **asdict(score),
            "best_accuracy": score.accuracy == max(peer.accuracy for peer in peers),
            "best_nll": score.nll == min(peer.nll for peer in peers),
        }
    return table


def _storage(recipe: Recipe, workdir: Workdir) -> list[dict[str, Any]]:
    found = []
    for source in recipe.sources():
        manifest = read_manifest(workdir, workdir.targets(source))
        if manifest:
            positions = sum(row.positions for row in manifest.shards)
            size = sum(row.bytes for row in manifest.shards)
            found.append(
                {
                    "source": str(source),
                    "shards": len(manifest.shards),
                    "rows": sum(row.rows for row in manifest.shards),
                    "positions": positions,
                    "megabytes": size / 1e6,
                    "bytes_per_position": size / max(positions, 1),
                    "fingerprint": manifest.fingerprint[:12],
                }
            )
    return found
