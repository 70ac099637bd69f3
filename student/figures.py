"""The report's figures, as inline SVG that reads on a light and on a dark page."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from recipe import MissingExtraError
from student.evaluate import Score

_PALETTE = {"student": "#3b82c4", "control": "#c9822b"}
_TEACHER = "#7c8a99"
_INK = "#808890"


def learning_curves(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Masked-LM loss and KD loss over steps, one line a run and term."""
    with _canvas(7.2, 3.2) as (figure, axes):
        for name, records in runs.items():
            steps = [record["step"] for record in records]
            axes.plot(steps, [record["mlm"] for record in records], color=_PALETTE[name], label=f"{name}: masked LM")
            if name == "student":
                kd = [record["kd"] for record in records]
                axes.plot(steps, kd, color=_PALETTE[name], linestyle=":", label=f"{name}: distillation")
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats")
        axes.legend(frameon=False, labelcolor=_INK)
        return _svg(figure)


def bars(scores: Sequence[Score], field: str, label: str, scale: float = 1.0) -> str:
    """One group a source, one bar a model."""
    sources = list(dict.fromkeys((score.language, score.teacher) for score in scores))
    models = list(dict.fromkeys("teacher" if s.model.startswith("teacher") else s.model for s in scores))
    shared = len({language for language, _ in sources}) < len(sources)
    width = 0.8 / len(models)
    with _canvas(7.2, 3.0) as (figure, axes):
        for number, model in enumerate(models):
            values = [
                scale * getattr(score, field)
                for source in sources
                for score in scores
                if (score.language, score.teacher) == source and score.model.split()[0] == model
            ]
            places = [at + (number - (len(models) - 1) / 2) * width for at in range(len(sources))]
            color = _PALETTE.get(model, _TEACHER)
            drawn = axes.bar(places, values, width * 0.92, color=color, label=model)
            axes.bar_label(drawn, fmt="%.1f", fontsize=7, color=_INK, padding=2)
        names = [f"{language}\n{teacher}" if shared else language for language, teacher in sources]
        axes.set_xticks(range(len(sources)), names)
        axes.set_ylabel(label)
        axes.margins(y=0.15)
        axes.legend(frameon=False, labelcolor=_INK, ncols=len(models), loc="upper center", bbox_to_anchor=(0.5, 1.18))
        return _svg(figure)


@contextmanager
def _canvas(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "the report") from None
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "mergedistill",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": _INK,
        "grid.alpha": 0.25,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
