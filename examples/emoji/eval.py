"""Score a bundle, or a model directory, on the held-out split: `python examples/emoji/eval.py
[MODEL]`.

Writes `{measure: {value, n, ci95}}` (Wilson's 95 % interval) and, beside it, what every single
answer was. A run that was cut short goes on where it stopped, as long as the model and the settings
are the same.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from catalog import read_json
from dataset import Emoji
from demo_bundle import BUNDLE, ensure_bundle
from exam import Exam, Outcome, wilson
from judges import JUDGES, Panel
from measures import MEASURES
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from samples import heldout, trained

from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import GateError, NextOmniError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution

FLOORS = {
    "image_to_text_heldout_artist": 0.45, "image_to_text_train": 0.95,
    "audio_to_text_heldout_voice": 0.70, "retrieval_text_image_r1": 0.65,
    "retrieval_text_audio_r1": 0.80, "text_to_image_named": 0.70, "text_to_audio_transcribed": 0.50,
    "text_to_video_named": 0.40,
}  # fmt: skip
"""What the model is to reach."""

SETTINGS = ("steps", "temperature", "guidance", "top_k", "top_p", "stepper")


def open_model(path: Path, runtime: str | None, provider: str | None) -> tuple[EdgeModel, str]:
    """A bundle's model, or a model directory's in the torch reference, and a digest that names
    it."""
    from nextomni_edge.bundle import Bundle, bundle_identity

    if (path / "manifest.json").is_file():
        return EdgeModel.from_bundle(
            Bundle.open(path), Execution(runtime, provider)
        ), bundle_identity(path)
    if runtime not in (None, "torch") or provider:
        raise UsageError(
            f"{path} is no bundle: only torch runs it; export it first, or leave --runtime and"
            " --provider out"
        )
    digests = Checkpoint.open(path).sha256()
    return (
        EdgeModel.from_checkpoint(path),
        hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
    )


def chosen_measures(text: str | None) -> list[str]:
    """Names of measures, all of them where none is named; 'floors' are those that have one."""
    names = [name.strip() for name in (text or ",".join(MEASURES)).split(",")]
    names = [name for given in names for name in (FLOORS if given == "floors" else [given])]
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"measure {name!r}: expected some of floors, {', '.join(MEASURES)}")
    return names


def score(outcomes: list[Outcome]) -> dict[str, Any]:
    """Share of right answers, their number and the interval."""
    right, n = sum(outcome.right for outcome in outcomes), len(outcomes)
    return {
        "value": round(right / n, 4),
        "n": n,
        "ci95": [round(bound, 4) for bound in wilson(right, n)],
    }


class Record:
    """The details file: results so far of one model under one set of settings; `eval.json` is
    written from it."""

    def __init__(self, out: Path, identity: dict[str, Any]) -> None:
        self.out, self.path = out, out.with_name(f"{out.stem}-details.json")
        self.data: dict[str, Any] = {"identity": identity, "judges": {}, "measures": {}}
        if self.path.exists():
            earlier = read_json(self.path)
            if earlier.get("identity") == identity:
                self.data["measures"] = earlier["measures"]

    def __contains__(self, name: str) -> bool:
        return name in self.data["measures"]

    def add(self, name: str, outcomes: list[Outcome], seconds: float) -> None:
        items = [dataclasses.asdict(outcome) for outcome in outcomes]
        self.data["measures"][name] = {
            **score(outcomes),
            "seconds": round(seconds, 1),
            "items": items,
        }
        self.write()

    def write(self) -> None:
        """Details first: a result without them would be measured again, never the other way
        round."""
        ordered = {name: self.data["measures"][name] for name in MEASURES if name in self}
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path, "w") as file:
            file.write(
                json.dumps({**self.data, "measures": ordered}, indent=1, ensure_ascii=False) + "\n"
            )
        results = {
            name: {key: found[key] for key in ("value", "n", "ci95")}
            for name, found in ordered.items()
        }
        with atomic_write(self.out, "w") as file:
            file.write(json.dumps(results, indent=2) + "\n")


def table(record: Record, names: list[str]) -> Table:
    """What was measured, with its floor where it has one."""
    found = Table(
        "measure", "value", "n", "95 % interval", "floor", "seconds", title="held-out measures"
    )
    for name in names:
        row, floor = record.data["measures"][name], FLOORS.get(name)
        low, high = row["ci95"]
        under = floor is not None and not row["value"] >= floor
        value = f"[red]{row['value']:.3f}[/red]" if under else f"{row['value']:.3f}"
        shown = "" if floor is None else f"{floor:.2f}"
        found.add_row(
            name, value, str(row["n"]), f"{low:.3f} to {high:.3f}", shown, f"{row['seconds']:.0f}"
        )
    for kind, report in record.data["judges"].items():
        for split, accuracy in report.items():
            if isinstance(accuracy, dict):
                found.add_row(
                    f"the {kind} judge itself, {split}",
                    f"{accuracy['value']:.3f}",
                    str(accuracy["n"]),
                    "",
                    "",
                    "",
                )
    return found


def missed(record: Record, names: list[str]) -> list[str]:
    """Measures under their floor, each with by how much."""
    values = {name: record.data["measures"][name]["value"] for name in names if name in FLOORS}
    return [
        f"{name} {value:.3f} < {FLOORS[name]:.2f}"
        for name, value in values.items()
        if not value >= FLOORS[name]
    ]


def run(exam: Exam, record: Record, names: list[str], console: Console) -> None:
    """Measure what is not in the record yet."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        overall = progress.add_task("measures", total=len(names))
        for name in names:
            if name not in record:
                bar = progress.add_task(name, total=None)
                watch = functools.partial(_show, progress, bar)
                began = time.monotonic()
                record.add(
                    name,
                    MEASURES[name](dataclasses.replace(exam, observe=watch)),
                    time.monotonic() - began,
                )
                progress.remove_task(bar)
                if not console.is_terminal:
                    row = record.data["measures"][name]
                    console.print(
                        f"{name} {row['value']:.3f} (n {row['n']}, {row['seconds']:.0f} s)"
                    )
            progress.advance(overall)


def _show(progress: Progress, bar: TaskID, done: int, total: int) -> None:
    progress.update(bar, completed=done, total=total)


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--measures",
    "named",
    metavar="NAME,...",
    help="Only these; 'floors' for those that have a floor.",
)
@click.option("--quick", is_flag=True, help="64 pictures and 64 sounds instead of 128.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of prepare.py: every held-out item.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=BUNDLE.with_name("eval.json"),
    help="File for the results.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--steps", type=int, help="Instead of the model's own settings, in every chosen measure: …"
)
@click.option("--temperature", type=float)
@click.option("--guidance", type=float)
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.option("--stepper")
@click.option("--runtime", help="The bundle's format tells by default.")
@click.option("--provider", help="Execution provider; another one running is an error.")
@click.option("--fresh", is_flag=True, help="Measure again what an earlier run has.")
@click.option("--gate", is_flag=True, help="Exit with 4 where a floor is missed.")
def main(
    model: Path | None,
    named: str | None,
    quick: bool,
    data: Path | None,
    out: Path,
    seed: int,
    runtime: str | None,
    provider: str | None,
    fresh: bool,
    gate: bool,
    **settings: Any,
) -> None:
    """Score MODEL, a bundle or a model directory; demo/bundle where none is given."""
    console = Console()
    try:
        names = chosen_measures(named)
        path = model or ensure_bundle(BUNDLE, console.print)
        edge, digest = open_model(path, runtime, provider)
        unseen = Emoji.load(data) if data else heldout()
        panel, rounds = Panel(JUDGES), 1 if quick else 2
        identity = {
            "model": digest,
            "runtime": runtime,
            "provider": provider,
            "seed": seed,
            "rounds": rounds,
            "settings": settings,
            "heldout": "committed" if data is None else len(unseen.drawing_concept),
            "judges": panel.digest,
        }
        record = Record(out, {} if fresh else identity)
        record.data |= {"identity": identity, "judges": panel.report}
        exam = Exam(
            edge, panel, unseen, trained(), settings, rounds, seed, lambda done, total: None
        )
        run(exam, record, names, console)
        record.write()
        console.print(table(record, names))
        console.print(f"written to {out}")
        if gate and missed(record, names):
            raise GateError(f"under the floor: {'; '.join(missed(record, names))}")
    except NextOmniError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
