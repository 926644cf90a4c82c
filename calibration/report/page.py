"""A report as a folder that a browser opens: index.html, its plots, and report.json with every
number."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from nextomni_edge.bundle.measured import Estimate, Mean
from nextomni_edge.calibration.report import plot
from nextomni_edge.files import atomic_write

NAME: Final = "report.json"
STYLE: Final = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;
padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;
border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%;width:40rem}caption{text-align:left;font-weight:600}"""
LEAD: Final = """Every variant against {parent}, on {parent}'s own x<sub>t</sub>: KL is
KL({parent} ‖ variant) of p<sub>1|t</sub>, in nats for each draw of a symbol; ± is half of the 95 %
interval over trajectories. Whole generations use the same seeds."""


def write_report(folder: Path, data: Mapping[str, Any]) -> Path:
    """Write the files of a report into a folder that exists; returns the page."""
    files: dict[str, bytes] = {f"{name}.png": picture for name, picture in plots(data).items()}
    files[NAME] = json.dumps(data, indent=1, allow_nan=False).encode()
    for name, content in files.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    with atomic_write(folder / "index.html", "w") as file:
        file.write(page(data, [name for name in files if name.endswith(".png")]))
    return folder / "index.html"


def plots(data: Mapping[str, Any]) -> dict[str, bytes]:
    """PNGs by name: KL against t for each modality, KL against size, and the given measures of
    quality against size."""
    variants = data["bundles"][1:]
    found = {}
    for modality in variants[0]["agreement"]:
        series = {
            variant["name"]: [
                (sum(part["t"]) / 2, part["kl"]["mean"])
                for part in variant["agreement"][modality]["by_t"]
            ]
            for variant in variants
        }
        found[f"kl-{modality}"] = plot.lines(
            f"KL of p(x1 | xt), {modality}", "flow time t", "nats per draw", series
        )
    points = {v["name"]: (v["bytes"] / 1e6, v["agreement"]["all"]["kl"]["mean"]) for v in variants}
    found["kl-size"] = plot.scatter(
        "KL against size", "megabytes", "nats per draw", points, more_is_better=False
    )
    for measure in data["bundles"][0].get("quality", {}):
        points = {
            b["name"]: (b["bytes"] / 1e6, b["quality"][measure]["value"]) for b in data["bundles"]
        }
        found[f"quality-{measure}"] = plot.scatter(
            f"{measure} against size", "megabytes", measure, points, more_is_better=True
        )
    return found


def page(data: Mapping[str, Any], pictures: Iterable[str]) -> str:
    """The whole page."""
    parent = html.escape(data["bundles"][0]["name"])
    tables = [sizes(data), agreement(data), flips(data), tokens(data), quality(data)]
    shown = "".join(
        f'<p><img src="{html.escape(name)}" alt="{html.escape(name)}"></p>' for name in pictures
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Variants of'
        f" {parent}</title><style>{STYLE}</style>"
        f"<h1>Variants of {parent}</h1><p>{LEAD.format(parent=parent)}</p>{''.join(tables)}{shown}"
        f"<p>Every number: <a href='{NAME}'>{NAME}</a>.</p></html>\n"
    )


def sizes(data: Mapping[str, Any]) -> str:
    """Bytes and seconds."""
    first = data["bundles"][0]
    heads = [
        "bundle",
        "MB",
        "times smaller",
        *(f"{rows} rows, ms" for rows in first["forward_seconds"]),
    ]
    heads += [f"{answer}, s" for answer in first["generation"]] + [
        f"{answer}, peak MiB" for answer in first["generation"]
    ]
    rows = []
    for bundle in data["bundles"]:
        row = [
            bundle["name"],
            f"{bundle['bytes'] / 1e6:.2f}",
            f"{first['bytes'] / bundle['bytes']:.2f}",
        ]
        row += [f"{1000 * seconds:.2f}" for seconds in bundle["forward_seconds"].values()]
        row += [f"{each['seconds']:.3f}" for each in bundle["generation"].values()]
        rows.append(
            [*row, *(mebibytes(each["peak_bytes"]) for each in bundle["generation"].values())]
        )
    return table(
        "Size, one backbone forward, one whole generation (medians, taken in turn; peak memory,"
        " each by itself)",
        heads,
        rows,
    )


def agreement(data: Mapping[str, Any]) -> str:
    """KL and equal argmax by modality."""
    variants = data["bundles"][1:]
    heads = [
        "variant",
        *(f"{name}: {what}" for name in variants[0]["agreement"] for what in ("KL", "same argmax")),
    ]
    rows = [
        [
            v["name"],
            *(
                mean(part[what])
                for part in v["agreement"].values()
                for what in ("kl", "same_argmax")
            ),
        ]
        for v in variants
    ]
    return table("p(x1 | xt), mean over the flow time", heads, rows)


def flips(data: Mapping[str, Any]) -> str:
    """Likeliest symbols that changed, by modality: of each sub-code, and of what is decided
    next."""
    variants = data["bundles"][1:]
    heads = ["variant"]
    for name, part in variants[0]["agreement"].items():
        heads += [f"{name} {code + 1}" for code in range(len(part["flips_by_code"]))]
        heads.append(f"{name}, decided")
    rows = []
    for variant in variants:
        row = [variant["name"]]
        for part in variant["agreement"].values():
            row += [mean(each) for each in (*part["flips_by_code"], part["flips_when_decided"])]
        rows.append(row)
    caption = (
        "Flips: share of draws whose likeliest symbol is another, by sub-code, and of what is"
        " decided next"
    )
    return table(caption, heads, rows)


def tokens(data: Mapping[str, Any]) -> str:
    """Equal sub-codes of whole generations by task."""
    variants = data["bundles"][1:]
    rows = [[v["name"], *(mean(found["same"]) for found in v["tokens"].values())] for v in variants]
    return table(
        "Share of symbols that whole generations end with alike",
        ["variant", *variants[0]["tokens"]],
        rows,
    )


def quality(data: Mapping[str, Any]) -> str:
    """An evaluation's results, where its files were given."""
    measures = data["bundles"][0].get("quality", {})
    rows = [
        [b["name"], *(estimate(b["quality"][measure]) for measure in measures)]
        for b in data["bundles"]
        if measures
    ]
    return (
        table("Quality of every task (95 % interval)", ["bundle", *measures], rows)
        if measures
        else ""
    )


def estimate(found: Mapping[str, Any]) -> str:
    """A measure with its interval."""
    return str(Estimate(found["value"], found["n"], tuple(found["ci95"])))


def mebibytes(value: int | None) -> str:
    """The number, or – where the machine has no counter for it."""
    return "–" if value is None else f"{value / 2**20:,.0f}"


def mean(found: Mapping[str, Any]) -> str:
    """A mean with half of its interval."""
    return str(Mean(**found))


def table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table of plain texts."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def text(data: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    first, lines = data["bundles"][0], []
    for bundle in data["bundles"]:
        line = (
            f"{bundle['name']:<24} {bundle['bytes']:>14,} bytes,"
            f" {first['bytes'] / bundle['bytes']:5.2f} times smaller"
        )
        if "agreement" in bundle:
            part = bundle["agreement"]["all"]
            line += f", KL {mean(part['kl'])}, same argmax {mean(part['same_argmax'])}"
        lines.append(line)
    return "\n".join(lines)
