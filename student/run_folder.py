"""Where a run keeps its checkpoints, metrics and export: a local folder, mirrored where the workdir is remote."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from recipe import Workdir


@dataclass(frozen=True)
class RunFolder:
    """One training run (`student` or `control`) below the workdir.

    Models, optimizers and TensorBoard write plain local files; `push` copies them up after each checkpoint.
    """

    workdir: Workdir
    name: str
    local: Path

    @classmethod
    def open(cls, workdir: Workdir, name: str) -> RunFolder:
        """The run's folder, made if missing, with what a remote workdir already holds of it."""
        if workdir.is_local:
            local = Path(workdir.path(name))
            local.mkdir(parents=True, exist_ok=True)
            return cls(workdir, name, local)
        local = Path(tempfile.mkdtemp(prefix=f"mergedistill-{name}-"))
        if workdir.exists(name):
            workdir.fs.get(workdir.path(name) + "/", str(local), recursive=True)
        return cls(workdir, name, local)

    def push(self, *names: str) -> None:
        """Copy files or folders of the run to a remote workdir; nothing to do for a local one."""
        if self.workdir.is_local:
            return
        for name in names:
            source = self.local / name
            if source.is_dir():
                self.workdir.remove(f"{self.name}/{name}")
                self.workdir.fs.put(f"{source}/", self.workdir.path(self.name, name) + "/", recursive=True)
            elif source.exists():
                self.workdir.write_bytes(f"{self.name}/{name}", source.read_bytes())
