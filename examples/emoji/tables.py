"""The README's tables, as Markdown, from what `make demo` and `make eval` left: `python
examples/emoji/tables.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from catalog import DataError, read_json
from demo_bundle import BUNDLE
from eval import FLOORS

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import NextOmniError


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table; the first column stands left, all others right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measure_table(details: dict[str, Any]) -> str:
    """What was measured, then what the judges themselves know."""
    rows = []
    for name, found in details["measures"].items():
        low, high = found["ci95"]
        floor = f"{FLOORS[name]:.2f}" if name in FLOORS else ""
        rows.append(
            [
                f"`{name}`",
                f"{found['value']:.3f}",
                str(found["n"]),
                f"{low:.3f} – {high:.3f}",
                floor,
            ]
        )
    for kind, report in details["judges"].items():
        own = {split: accuracy for split, accuracy in report.items() if isinstance(accuracy, dict)}
        for split, found in own.items():
            rows.append(
                [
                    f"the {kind} judge itself, `{split}`",
                    f"{found['value']:.3f}",
                    str(found["n"]),
                    "",
                    "",
                ]
            )
    return markdown(["measure", "value", "n", "95 % interval", "floor"], rows)


def parity_tables(parity: dict[str, Any]) -> tuple[str, str]:
    """Components, then whole generations, as the export measured them."""
    components, tasks = [], []
    for name, found in parity["components"].items():
        errors = [f"{found['error']:.1e}", f"{found['limit']:.0e}"]
        components.append(
            [
                f"`{name}`",
                str(found["cases"]),
                *errors,
                str(found["codes"]),
                str(len(found["near_ties"])),
            ]
        )
    for name, found in parity["tasks"].items():
        tasks.append(
            [f"`{name}`", str(found["steps"]), f"{found['draws']:,}", str(len(found["near_ties"]))]
        )
    one = markdown(
        ["component", "cases", "largest error", "allowed", "codes compared", "near ties"],
        components,
    )
    return one, markdown(["generation", "steps", "draws compared", "near ties"], tasks)


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), default=BUNDLE)
@click.option(
    "--details", type=click.Path(path_type=Path), default=BUNDLE.with_name("eval-details.json")
)
def main(bundle: Path, details: Path) -> None:
    """Print the tables of measures and of parity."""
    try:
        measures = measure_table(read_json(details))
        components, tasks = parity_tables(Bundle.open(bundle).manifest.parity)
    except DataError as error:
        click.echo(f"error: {error}; run `make eval` first", err=True)
        sys.exit(error.exit_code)
    except NextOmniError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"{measures}\n\n{components}\n\n{tasks}")


if __name__ == "__main__":
    main()
