"""What a run says while it goes: metrics.jsonl, TensorBoard, and a progress bar in a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class Metrics:
    """Write one record for every `log_every` steps to every place that shows them."""

    def __init__(self, folder: Path, title: str, steps: int, start: int) -> None:
        self._path = folder / "metrics.jsonl"
        self._forget_after(start)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
        self._bar = tqdm(
            total=steps, initial=start, desc=title, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record named values of one step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = {name: f"{values[name]:.3f}" for name in ("loss", "kd", "mlm") if name in values}
        self._bar.set_postfix(shown | {"tok/s": f"{values.get('tokens_per_second', 0):,.0f}"}, refresh=False)

    def advance(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._file.close()
        self._board.close()
        self._bar.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget_after(self, step: int) -> None:
        """Drop the records of steps that a killed run made after its last checkpoint: they will be made again."""
        kept = [record for record in read_metrics(self._path) if record["step"] <= step]
        self._path.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; none where there is no file. A line cut off by a kill is left out."""
    records = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records
