"""Draw the pictures of the documentation: `python docs/drawings.py`.

The bars of path.svg and step.svg are computed by `nextomni_edge.flow`, and growth.svg shows
benchmarks/demo_growth.json; nothing in them is drawn by hand.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nextomni_edge.files import atomic_write
from nextomni_edge.flow.distance import MetricTable
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.flow.velocity import velocity

OUT = Path(__file__).parent / "drawings"
GROWTH = Path(__file__).parents[1] / "benchmarks" / "demo_growth.json"
INK, GREY, BLUE, ORANGE, GREEN, PALE = (
    "#1f2937", "#6b7280", "#3b6fd4", "#e07b39", "#3a9d6a", "#eef2f9",
)  # fmt: skip
SYMBOLS, ANSWER, PRESENT = 16, 10, 3
SCHEDULE = MetricSchedule()


def text(
    x: float, y: float, said: str, size: int = 14, colour: str = INK, at: str = "middle"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{at}">'
        f"{html.escape(said)}</text>"
    )


def box(
    x: float, y: float, width: float, height: float, fill: str, line: str = "none", round_: int = 3
) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_}"'
        f' fill="{fill}" stroke="{line}"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float, colour: str = INK) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
        ' stroke-width="1.6" marker-end="url(#head)"/>'
    )


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        f' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>'
    )
    body = "\n".join([head, box(0, 0, width, height, "#ffffff", round_=8), *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="system-ui, sans-serif">\n'
        f"<title>{html.escape(title)}</title>\n{body}\n</svg>\n"
    )


def ring() -> MetricTable:
    """Symbols whose vectors stand on a circle, so that distance is distance along it."""
    angle = 2 * np.pi * np.arange(SYMBOLS) / SYMBOLS
    table = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return MetricTable(table)


def probability(metric: MetricTable, t: float) -> np.ndarray:
    """p_t(x | x_1) of every symbol."""
    weight = np.exp(-SCHEDULE(t)[0] * metric.distance(np.array([ANSWER]))[0])
    return np.asarray(weight / weight.sum())


def bars(
    x: float, y: float, width: float, height: float, values: np.ndarray, colours: list[str]
) -> list[str]:
    """A bar for each value, from the line y upwards."""
    step = width / len(values)
    return [
        box(
            x + i * step + 1,
            y - height * value,
            step - 2,
            max(height * value, 0.8),
            colour,
            round_=1,
        )
        for i, (value, colour) in enumerate(zip(values, colours, strict=True))
    ]


def path_drawing() -> str:
    """p_t over the symbols at five times."""
    metric, parts = ring(), [text(390, 30, "The path p_t(x | x_1): from noise to the answer", 17)]
    colours = [GREEN if symbol == ANSWER else BLUE for symbol in range(SYMBOLS)]
    for panel, t in enumerate((0.0, 0.1, 0.3, 0.9, 0.99)):
        left = 20 + 150 * panel
        parts += [box(left, 50, 140, 190, PALE), text(left + 70, 262, f"t = {t:g}")]
        parts += bars(left + 6, 232, 128, 165, probability(metric, t), colours)
        parts.append(text(left + 6 + 8 * ANSWER + 4, 62 + 12, "x_1", 11, GREEN) if t < 0.5 else "")
    parts.append(text(390, 292, "Each bar is one symbol. Symbols near x_1 in the metric table keep"
                      " their probability longest.", 13, GREY))  # fmt: skip
    return svg(780, 310, "Five panels of bars: uniform at t = 0, one bar at t near 1", parts)


def step_drawing() -> str:
    """The rates at which the present symbol leaves, and one step in boxes."""
    metric, t = ring(), 0.3
    rate = np.asarray(velocity(np.array([PRESENT]), np.array([ANSWER]), t, metric, SCHEDULE))[0]
    rate = np.where(np.arange(SYMBOLS) == PRESENT, 0.0, rate)
    colours = [GREEN if symbol == ANSWER else BLUE for symbol in range(SYMBOLS)]
    parts = [text(390, 30, "One step of one token", 17), box(20, 50, 330, 210, PALE)]
    parts += bars(30, 232, 310, 130, rate / rate.max(), colours)
    spot = 30 + 310 / SYMBOLS
    parts += [
        box(30 + PRESENT * (310 / SYMBOLS) + 1, 224, 310 / SYMBOLS - 2, 8, ORANGE, round_=1),
        text(spot + 310 / SYMBOLS * (PRESENT - 0.5), 250, "x_t", 13, ORANGE),
        text(spot + 310 / SYMBOLS * (ANSWER - 0.5), 250, "x_1", 13, GREEN),
        text(185, 74, "rates u_t(x, x_t | x_1) at t = 0.3", 14),
        text(185, 94, "only symbols nearer to x_1 than x_t", 12, GREY),
    ]
    boxes = [
        ("1  network", "logits from x_t, never from t"),
        ("2  draw x_1", "temperature, top-k, top-p"),
        ("3  jump?", "with probability 1 − exp(−h·λ)"),
        ("4  where to", "a draw from the rates"),
    ]
    for row, (name, what) in enumerate(boxes):
        top = 50 + 54 * row
        parts += [
            box(390, top, 370, 42, "#ffffff", BLUE, 6),
            text(406, top + 26, name, 14, at="start"),
            text(520, top + 26, what, 13, GREY, "start"),
        ]
        if row:
            parts.append(arrow(575, top - 12, 575, top - 1))
    parts.append(text(390, 286, "The last step writes x_1. Until then a token may be revised again"
                      " and again.", 13, GREY))  # fmt: skip
    return svg(780, 304, "Rates of a jump, and the four parts of a step", parts)


def cache_drawing() -> str:
    """Which rows are computed in each of six steps, by policy."""
    policies: dict[str, Callable[[int, int], bool]] = {
        "none (exact)": lambda step, row: True,
        "prefix": lambda step, row: step == 0 or row >= 5,
        "revised": lambda step, row: (
            step == 0 or (row >= 5 and (step == 5 or (row * 3 + step * 5) % 7 < 2))
        ),
    }
    parts = [text(390, 30, "Rows computed in each step", 17)]
    for panel, (name, computed) in enumerate(policies.items()):
        left = 24 + 252 * panel
        parts.append(text(left + 114, 60, name, 14))
        for step in range(6):
            for row in range(12):
                colour = BLUE if computed(step, row) else "#dbe3f0"
                parts.append(box(left + 19 * row, 74 + 21 * step, 16, 17, colour, round_=2))
            if panel == 0:
                parts.append(text(left - 6, 87 + 21 * step, str(step + 1), 10, GREY, "end"))
        parts += [
            text(left + 46, 216, "prompt", 12, GREY),
            text(left + 160, 216, "answer", 12, GREY),
        ]
    parts += [
        box(24, 236, 16, 14, BLUE, round_=2), text(48, 248, "computed", 13, at="start"),
        box(150, 236, 16, 14, "#dbe3f0", round_=2),
        text(174, 248, "keys and values kept from an earlier step", 13, at="start"),
        text(24, 276, "Each row of squares is one step.", 13, GREY, "start"),
        text(24, 296, "The policy revised computes rows whose token changed or may change, and the"
             " whole answer in the last step.", 13, GREY, "start"),
    ]  # fmt: skip
    return svg(780, 312, "Three grids of rows by steps: none, prefix and revised", parts)


def bundle_drawing() -> str:
    """From a model directory through graphs to a device."""
    parts = [text(390, 30, "A bundle: separate graphs, shared weights, its own proof", 17)]
    parts += [box(20, 60, 150, 200, PALE), text(95, 82, "model directory")]
    for row, name in enumerate(("config.json", "model.safetensors", "tokenizer.json")):
        parts += [
            box(32, 98 + 50 * row, 126, 36, "#ffffff", GREY, 5),
            text(95, 121 + 50 * row, name, 12),
        ]
    parts += [arrow(174, 160, 222, 160), text(198, 150, "export", 12, GREY)]
    parts += [box(228, 60, 330, 200, PALE), text(393, 82, "bundle")]
    graphs = ("encoders", "embed", "backbone", "heads", "decoders")
    for column, name in enumerate(graphs):
        parts += [box(240 + 62 * column, 96, 57, 40, BLUE, round_=5),
                  text(268.5 + 62 * column, 121, name, 11, "#ffffff")]  # fmt: skip
    for row, (name, colour) in enumerate(
        (
            ("weights/, each stored once by its SHA-256", GREY),
            ("manifest.json, tokenizer, metric tables", GREY),
            ("golden trace: inputs, x_t, margins, outputs", GREEN),
        )
    ):
        parts += [
            box(240, 146 + 36 * row, 305, 29, "#ffffff", colour, 5),
            text(393, 165 + 36 * row, name, 12),
        ]
    parts += [arrow(562, 160, 610, 160), text(586, 150, "run", 12, GREY)]
    parts += [box(616, 60, 144, 200, PALE), text(688, 82, "device")]
    for row, name in enumerate(("one runtime", "the loop, in numpy", "doctor: the proof")):
        colour = GREEN if row == 2 else GREY
        parts += [
            box(628, 98 + 50 * row, 120, 36, "#ffffff", colour, 5),
            text(688, 121 + 50 * row, name, 12),
        ]
    return svg(780, 280, "Model directory, bundle and device", parts)


def growth_drawing() -> str:
    """What each direction of the demo reached after so many updates of its last stage."""
    measured = json.loads(GROWTH.read_text(encoding="utf-8"))
    updates = sorted(int(name) for name in measured)
    names = [name for name in measured[str(updates[0])] if name != "weights"]
    parts = [text(390, 28, "Held-out answers that are right, by updates of the last stage", 17)]
    for panel, name in enumerate(names):
        left, top = 20 + 186 * (panel % 4), 50 + 150 * (panel // 4)
        rows = [measured[str(count)][name] for count in updates]
        across = [left + 8 + 154 * count / updates[-1] for count in updates]

        def line(values: list[float], at: list[float] = across, top: int = top) -> list[str]:
            return [f"{x:.1f},{top + 100 - 92 * y:.1f}" for x, y in zip(at, values, strict=True)]

        low, high = (line([row["ci95"][end] for row in rows]) for end in (0, 1))
        middle = line([row["value"] for row in rows])
        label = name.replace("_", " ")
        parts += [
            box(left, top, 170, 106, PALE),
            f'<polygon points="{" ".join([*low, *high[::-1]])}" fill="{BLUE}" opacity="0.2"/>',
            f'<polyline points="{" ".join(middle)}" fill="none" stroke="{BLUE}" stroke-width="2"/>',
            text(left + 85, top + 122, label, 10),
            text(left + 166, top + 99, f"{rows[-1]['value']:.2f}", 12, BLUE, "end"),
        ]
    bottom = 50 + 150 * -(-len(names) // 4)
    parts.append(text(390, bottom, f"From 0 to {updates[-1]:,} updates; each panel from 0 to 1."
                      " The band is Wilson's 95 % interval.", 13, GREY))  # fmt: skip
    return svg(780, bottom + 18, "Lines of right answers by updates, a panel each", parts)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    drawings = {
        "path": path_drawing,
        "step": step_drawing,
        "cache": cache_drawing,
        "bundle": bundle_drawing,
        "growth": growth_drawing,
    }
    for name, drawing in drawings.items():
        with atomic_write(OUT / f"{name}.svg", "w") as file:
            file.write(drawing())


if __name__ == "__main__":
    main()
