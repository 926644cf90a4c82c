"""`make demo`: the committed checkpoint leaves PyTorch as a verified bundle, does every task, and
shows it on demo/index.html."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import click
import page
from catalog import read_json
from demo_bundle import BUNDLE, ensure_bundle
from exam import Exam
from gallery import Gallery, Grid, Task
from judges import JUDGES, Panel
from measured import LABELS, read_measures, weakness
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from samples import heldout, trained

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import NextOmniError
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.verify import Report, verify

LEAD = (
    "One small model reads and writes text, pictures, speech and films, in every direction, by"
    " discrete flow matching. It was trained in PyTorch. The exported bundle made everything below"
    " in ONNX Runtime: one try each, and nothing was picked. The drawings and the voice that the"
    " model is given were not in its training set."
)
PARITY = (
    "The export compares each graph with its PyTorch module, and whole generations with the same"
    " seed, token by token at every step. It fails where they differ. A near tie is a draw so close"
    " to another outcome that rounding in float32 may decide it. All near ties are counted."
)
CREDITS = """<p>Drawings: Noto Emoji, first and current design (Google, Apache-2.0), Twemoji
(Twitter, Inc and contributors, CC-BY-4.0), EmojiOne 2 (Emoji One, CC-BY-4.0), FxEmojis (Mozilla,
Apache-2.0), Fluent Emoji (Microsoft, MIT). All are scaled to a few pixels and moved. Held-out
voice: Flite's slt (Carnegie Mellon University). <code>examples/emoji/heldout/index.json</code> and
<code>examples/emoji/NOTICE.md</code> name the maker and the licence of every file.</p>"""

RESULTS = BUNDLE.with_name("eval.json")  # committed


def parity_tables(parity: dict[str, Any]) -> str:
    """The export's report: components, then tasks."""
    if not parity:
        return "<p>This bundle was exported without verification.</p>"
    components = [
        [
            name,
            found["cases"],
            float(found["error"]),
            f"{found['limit']:.0e}",
            found["codes"],
            len(found["near_ties"]),
        ]
        for name, found in parity["components"].items()
    ]
    tasks = [
        [
            name,
            found["steps"],
            found["draws"],
            "–" if found["smallest_margin"] is None else found["smallest_margin"],
            len(found["near_ties"]),
        ]
        for name, found in parity["tasks"].items()
    ]
    one = page.table(
        ["component", "cases", "largest error", "allowed", "codes compared", "near ties"],
        components,
    )
    other = page.table(
        ["generation", "steps", "draws compared", "nearest to a tie", "near ties"], tasks
    )
    return (
        f"<h3>Components</h3>{one}<h3>Whole generations, the same tokens at every step</h3>{other}"
    )


def size_tables(bundle: Bundle, tasks: list[Task], times: dict[str, float]) -> str:
    """Bytes by kind of file, and seconds by task."""
    sizes = {name: record.size for name, record in bundle.manifest.files.items()}
    graphs = sum(size for name, size in sizes.items() if name.endswith(".onnx"))
    weights = sum(size for name, size in sizes.items() if name.startswith("weights/"))
    rows = [
        ["graphs", graphs],
        ["weights", weights],
        ["everything else, the golden trace included", sum(sizes.values()) - graphs - weights],
    ]
    spent = [[name, seconds] for name, seconds in times.items()]
    spent += [[f"{task.title}, {len(task.examples)} at once", task.seconds] for task in tasks]
    files, seconds = page.table(["files", "bytes"], rows), page.table(["step", "seconds"], spent)
    return f"<h3>Bundle</h3>{files}<h3>Seconds</h3>{seconds}"


def measure_tables(results: Path) -> tuple[str, str]:
    """What `make eval` measured: the committed results, and the judges' own accuracy where the
    measuring was done here."""
    measures = read_measures(results)
    if not measures:
        return "<code>make eval</code> measures them; then run <code>make demo</code> again.", ""
    rows = [
        [LABELS.get(name, name), found["value"], found["n"], interval(found)]
        for name, found in measures.items()
    ]
    details = results.with_name(f"{results.stem}-details.json")
    for kind, report in (read_json(details)["judges"] if details.exists() else {}).items():
        own = {split: accuracy for split, accuracy in report.items() if isinstance(accuracy, dict)}
        rows += [
            [f"The {kind} judge itself: {split}", accuracy["value"], accuracy["n"], ""]
            for split, accuracy in own.items()
        ]
    lead = (
        "The committed checkpoint's share of right answers on the held-out split, measured by"
        " <code>make eval</code>, with Wilson's 95 % interval."
    )
    return lead, page.table(["measure", "share right", "n", "95 % interval"], rows)


def interval(found: dict[str, Any]) -> str:
    low, high = found["ci95"]
    return f"{low:.3f} – {high:.3f}"


def build(
    bundle: Bundle,
    tasks: list[Task],
    forming: str,
    grids: list[Grid],
    times: dict[str, float],
    results: Path,
    facts: str,
) -> str:
    """The whole page."""
    lead, measured = measure_tables(results)
    anchors = [
        ("forming", "How a picture forms"),
        ("retrieval", "Retrieval"),
        ("parity", "Parity"),
        ("sizes", "Sizes and times"),
    ]
    measures = read_measures(results)
    sections = [page.task(task, weakness(task.title, measures)) for task in tasks]
    links = [
        (section.split('"')[1], task.title) for section, task in zip(sections, tasks, strict=True)
    ] + [
        *anchors,
        ("measures", "Measures"),
    ]
    return page.render(
        "Any modality in, any modality out",
        lead=LEAD,
        facts=facts,
        contents="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in links),
        tasks="".join(sections),
        forming=forming,
        moments=str(forming.count(" at t = ") // max(1, forming.count('class="strip"'))),
        grids="".join(page.grid(one) for one in grids),
        parity_lead=PARITY,
        parity=parity_tables(bundle.manifest.parity),
        machine=(
            f"On {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},"
            " ONNX Runtime, float32."
        ),
        sizes=size_tables(bundle, tasks, times),
        measures_lead=lead,
        measures=measured,
        credits=CREDITS,
    )


def headline(bundle: Bundle, report: Report, tasks: list[Task], times: dict[str, float]) -> str:
    """A few figures for the top of the page."""
    size = sum(record.size for record in bundle.manifest.files.values())
    weights = sum(
        record.size for name, record in bundle.manifest.files.items() if name.startswith("weights/")
    )
    examples = sum(len(task.examples) for task in tasks)
    return page.facts(
        [
            ("bundle", f"{size / 1e6:.1f} MB"),
            ("weights in it", f"{weights / 1e6:.1f} MB"),
            ("graphs", str(len(bundle.manifest.components))),
            ("loaded in", f"{times['load the bundle']:.1f} s"),
            ("one picture alone", f"{times['one picture alone']:.2f} s"),
            ("answers below", str(examples)),
            ("golden trace replayed", f"{len(report.tasks)} tasks, {report.near_ties} near ties"),
        ]
    )


class Clock:
    """Named durations, in the order in which they were measured."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def __call__(self, name: str, began: float) -> None:
        self.times[name] = time.monotonic() - began


def make(out: Path, bundle_path: Path, settings: dict[str, Any], console: Console) -> None:
    """Verify the bundle, run everything, write the page."""
    clock = Clock()
    began = time.monotonic()
    report = verify(bundle_path)
    clock("replay the golden trace", began)
    console.print(
        f"golden trace replayed: {len(report.components)} components, {len(report.tasks)} tasks,"
        f" {report.near_ties} near ties"
    )
    began = time.monotonic()
    bundle = Bundle.open(bundle_path)
    model = EdgeModel.from_bundle(bundle, components=list(bundle.manifest.components))
    clock("load the bundle", began)
    gallery = Gallery(
        Exam(model, Panel(JUDGES), heldout(), trained(), settings, 1, 0, lambda done, total: None)
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("tasks", total=None)
        tasks = gallery.tasks(
            lambda name, done, total: progress.update(
                bar, description=name, completed=done, total=total
            )
        )
        progress.update(bar, description="pictures as they form", completed=len(tasks))
        began = time.monotonic()
        gallery.one_picture()
        clock("one picture alone", began)
        forming, grids = page.forming(gallery.forming()), gallery.grids()
    facts = headline(bundle, report, tasks, clock.times)
    html = build(bundle, tasks, forming, grids, clock.times, RESULTS, facts)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out, "w") as file:
        file.write(html)
    for task in tasks:
        judged = [example.right for example in task.examples if example.right is not None]
        console.print(
            f"{task.title:<30} {sum(judged):>2} of {len(judged)} right, {task.seconds:.1f} s"
        )
    console.print(f"written to {out} ({len(html) / 1e6:.1f} MB): open it in a browser")


@click.command()
@click.option(
    "--bundle",
    "given",
    type=click.Path(path_type=Path),
    help="Show this bundle as it is; exports nothing.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=BUNDLE.with_name("index.html"),
    help="The page.",
)
@click.option("--steps", type=int, help="Instead of the model's own number, for a quick look.")
def main(given: Path | None, out: Path, steps: int | None) -> None:
    """Export, verify, run every task on held-out inputs, write the page."""
    console = Console()
    try:
        began = time.monotonic()
        make(out, given or ensure_bundle(BUNDLE, console.print), {"steps": steps}, console)
        console.print(f"done in {time.monotonic() - began:.0f} s")
    except NextOmniError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
