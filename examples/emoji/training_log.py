"""What training shows and keeps: a CSV of means, and a progress bar."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from rich.progress import Progress

from nextomni_edge.train.loop import Metrics


class Log:
    """A CSV to plot (step, metric, mean since the last line) and a progress bar with an
    estimate."""

    def __init__(self, path: Path, progress: Progress, steps: int, every: int = 50) -> None:
        self.path, self.progress, self.every = path, progress, every
        self.bar = progress.add_task(path.stem, total=steps, text="")
        self.sums: dict[str, list[float]] = {}

    def __call__(self, step: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.sums.setdefault(name, []).append(value)
        if step % self.every == self.every - 1:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(
                    [step + 1, name, f"{np.mean(v):.5g}"] for name, v in sorted(self.sums.items())
                )
            shown = "  ".join(f"{name} {np.mean(v):.3g}" for name, v in list(self.sums.items())[:4])
            self.progress.update(self.bar, completed=step + 1, text=shown)
            if not self.progress.console.is_terminal:  # a log file gets a line, not a bar redrawn
                self.progress.print(f"{self.path.stem} {step + 1}  {shown}")
            self.sums.clear()
