"""Answer quality of a flow and of its autoregressive twin: `python examples/emoji/twins.py --flow
DIR --ar DIR [-o FILE]`.

Both go on from the demo's model, on the same draws, updates and seed:

    train="python examples/emoji/train.py --data DATA --stage text --batch-size 32 --init
    examples/emoji/checkpoint" $train --objective flow --out runs/flow $train --objective ar --out
    runs/ar

They are asked about drawings by artists whom training never met for the thing, each as it is and
seven times augmented. Three tasks: the name (a block of 8 tokens), a listing of all that is known
of the drawing (37 to 60 tokens in a block of 64), and a page that spells each of its words in three
orders (186 to 256 tokens in a block of 256). An answer is right when every character is, up to the
artist; its fields, which stand between semicolons, are counted too. The twin decodes greedily; the
flow takes the argmax, with at most n forwards, by either step rule. A listing and a page are
written in two parts, the first tokens and all behind them, with n forwards for each. Intervals are
95 %, by a bootstrap over drawings, as views of one are not independent; differences are paired, and
the flow is not told apart where the interval of its difference reaches 0.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
from collections.abc import Callable
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from catalog import load_concepts
from dataset import Emoji
from numpy.typing import NDArray
from prompts import (
    LEAD_TOKENS,
    LIST_IT,
    LISTING_TOKENS,
    PAGE_TOKENS,
    SPELL_IT,
    WHAT_IS_THIS,
    listing,
    page,
)
from samples import heldout

from nextomni_edge.checkpoints.directory import file_sha256
from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.autoregressive import greedy
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence

FORWARDS = [1, 2, 3, 4, 8]
VIEWS = 8
LEADS = {"listing": LEAD_TOKENS, "page": LEAD_TOKENS}
ARTIST = "; by"  # what follows is not scored: training never met that artist with that thing
RESAMPLES = 4000
READINGS = {
    "not told apart": "fewest_not_told_apart",
    "at least as good": "fewest_at_least_as_good",
    "by fields": "fewest_by_fields",
}
Decode = Callable[[list[Sequence], Meter], list[Sequence]]


class Questions:
    """The held-out drawings, encoded, and what the right answers about each are."""

    def __init__(self, model: EdgeModel, emoji: Emoji) -> None:
        self.model = model
        rows, known = (
            emoji.drawings(heldout=True),
            {concept.name: concept for concept in load_concepts()},
        )
        names = [emoji.concepts[index] for index in emoji.drawing_concept[rows]]
        artists = [emoji.artists[index] for index in emoji.drawing_artist[rows]]
        listed, spelled = (
            [write(known[name], artist) for name, artist in zip(names, artists, strict=True)]
            for write in (listing, page)
        )
        block = model.config.text.block_size
        self.tasks = {
            "name": (WHAT_IS_THIS, 1, names),
            "listing": (LIST_IT, LISTING_TOKENS // block, listed),
            "page": (SPELL_IT, PAGE_TOKENS // block, spelled),
        }
        size, rng = model.config.image.size, np.random.default_rng(0)
        views = [emoji.pictures(rows, rng if view else None, size) for view in range(VIEWS)]
        pixels = np.stack(views, axis=1).astype(np.float32) * 2 - 1  # (drawings, views, 3, S, S)
        self.codes = np.stack([model.encode_image(own) for own in pixels])

    def sequences(self, task: str) -> list[Sequence]:
        """One for each view of each drawing, views of a drawing side by side."""
        asked, blocks, _ = self.tasks[task]
        pictures = [Part("image", code) for own in self.codes for code in own]
        given = [
            conversation(self.model.tokenizer, (Turn("user", (part, Part("text", asked))),))
            for part in pictures
        ]
        return [
            respond(segments, "text", self.model.config, self.model.tokenizer, blocks)
            for segments in given
        ]

    def marks(self, task: str, answers: list[Sequence]) -> Marks:
        said = [str(self.model.response(answer).value).split(ARTIST)[0] for answer in answers]
        tokenizer = self.model.tokenizer
        expected = [
            tokenizer.decode(tokenizer.encode(text)).split(ARTIST)[0]
            for text in self.tasks[task][2]
            for _ in range(VIEWS)
        ]
        pairs = list(zip(said, expected, strict=True))
        whole, fields = (
            [float(one == other) for one, other in pairs],
            [fields_right(*pair) for pair in pairs],
        )
        return Marks(*(np.asarray(marks).reshape(-1, VIEWS) for marks in (whole, fields)))


class Marks(NamedTuple):
    """Of each answer (drawings, views): 1 where every character is right, and the share of its
    fields that are."""

    whole: NDArray[np.float64]
    fields: NDArray[np.float64]


def fields_right(said: str, expected: str) -> float:
    """The share of what stands between semicolons that is said in its place."""
    pairs = itertools.zip_longest(said.split(";"), expected.split(";"))
    return statistics.fmean(one == other for one, other in pairs)


def resampled(values: NDArray[np.float64]) -> list[float]:
    """95 % interval of the mean of values (drawings,) by resampling drawings."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    return [float(bound) for bound in np.quantile(means, [0.025, 0.975])]


def summary(marks: NDArray[np.float64], twin: NDArray[np.float64] | None) -> dict[str, Any]:
    """The mean of marks (drawings, views), and how far it is from the twin's."""
    found: dict[str, Any] = {"value": float(marks.mean()), "ci95": resampled(marks.mean(axis=1))}
    if twin is not None:
        difference = marks.mean(axis=1) - twin.mean(axis=1)
        found |= {"minus_twin": float(difference.mean()), "minus_twin_ci95": resampled(difference)}
    return found


def scored(marks: Marks, meter: Meter, twin: Marks | None = None) -> dict[str, Any]:
    """Both measures, what the answers took, and the raw outcomes, a string of 0 and 1 for each
    drawing."""
    return {
        **summary(marks.whole, twin and twin.whole),
        "fields": summary(marks.fields, twin and twin.fields), "n": marks.whole.size,
        "drawings": len(marks.whole), "forwards": meter.forwards / meter.requests,
        "right": ["".join(str(int(view)) for view in own) for own in marks.whole],
    }  # fmt: skip


def flow_options(
    model: EdgeModel, stepper: str, forwards: int, lead_tokens: int
) -> GenerationOptions:
    """So many forwards at most, for each part. Euler has one step more, the first, which needs
    none."""
    steps = forwards + 1 if stepper == "euler" and forwards > 1 else forwards
    return GenerationOptions.defaults(
        model.config, "text", stepper=stepper, steps=steps, lead_tokens=lead_tokens
    )


def flow_decode(
    model: EdgeModel, options: GenerationOptions, sequences: list[Sequence], meter: Meter
) -> list[Sequence]:
    return generate_batch(model, sequences, options, list(range(len(sequences))), meter=meter)


def measured(
    questions: Questions, task: str, decode: Decode, twin: Marks | None = None
) -> tuple[dict[str, Any], Marks]:
    meter = Meter()
    marks = questions.marks(task, decode(questions.sequences(task), meter))
    return scored(marks, meter, twin), marks


def smallest(
    points: dict[str, dict[str, Any]], fits: Callable[[dict[str, Any]], bool]
) -> dict[str, int]:
    """By step rule, the fewest forwards of a point that fits."""
    found: dict[str, int] = {}
    for name, point in points.items():
        rule, forwards = name.split()
        if fits(point):
            found[rule] = min(int(forwards), found.get(rule, int(forwards)))
    return found


def compared(flow: Questions, twin: Questions, task: str, counts: Many[int]) -> dict[str, Any]:
    """One task: the twin, the flow at each number of forwards, and the fewest at equal quality in
    two readings."""
    reference, marks = measured(
        twin, task, lambda sequences, meter: greedy(twin.model, sequences, meter=meter)
    )
    print(
        f"{task:<8} ar            {reference['value']:.3f} fields"
        f" {reference['fields']['value']:.3f}",
        flush=True,
    )
    points: dict[str, dict[str, Any]] = {}
    for stepper in ("euler", "corrected"):
        for forwards in counts:
            decode = functools.partial(
                flow_decode,
                flow.model,
                flow_options(flow.model, stepper, forwards, LEADS.get(task, 0)),
            )
            point, _ = measured(flow, task, decode, marks)
            points[f"{stepper} {forwards}"] = point
            said = (
                f"{point['value']:.3f} {point['minus_twin_ci95']} fields"
                f" {point['fields']['value']:.3f}"
            )
            print(f"{task:<8} {stepper} {forwards:<3} {said}", flush=True)
    return {
        "lead_tokens": LEADS.get(task, 0), "ar": reference, "flow": points,
        "fewest_at_least_as_good": smallest(points, lambda point: point["minus_twin"] >= 0),
        "fewest_not_told_apart": smallest(points, lambda point: point["minus_twin_ci95"][1] >= 0),
        "fewest_by_fields": smallest(points, lambda point: point["fields"]["minus_twin"] >= 0),
    }  # fmt: skip


def _cell(point: dict[str, Any]) -> str:
    low, high = point["ci95"]
    return f"{point['value']:.2f} ({low:.2f} to {high:.2f})" if point["value"] else "none"


def table(tasks: dict[str, Any]) -> str:
    """Markdown: both measures of the twin, and of the flow by step rule and forwards for each part,
    with their intervals."""
    counts = sorted({int(name.split()[1]) for found in tasks.values() for name in found["flow"]})
    head = ["task, measure", "twin", "flow", *(f"n = {n}" for n in counts)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for task, found in tasks.items():
        for rule in dict.fromkeys(name.split()[0] for name in found["flow"]):
            points = [found["flow"][f"{rule} {n}"] for n in counts]
            whole = [f"{task}, whole", _cell(found["ar"]), rule, *map(_cell, points)]
            fields = [
                f"{task}, fields",
                _cell(found["ar"]["fields"]),
                rule,
                *(_cell(point["fields"]) for point in points),
            ]
            lines += [
                f"| {' | '.join(row)} |" for row in ([whole] if task == "name" else [whole, fields])
            ]
    lines.append("")
    for task, found in tasks.items():
        said = [
            f"{reading.capitalize()}: {_fewest(found[key])}." for reading, key in READINGS.items()
        ]
        parts = "for each of two parts" if found["lead_tokens"] else "in one part"
        first = found["flow"][f"euler {counts[0]}"]
        low, high = first["minus_twin_ci95"]
        difference = (
            f"the flow's score less the twin's at n = {counts[0]} is {first['minus_twin']:+.3f}"
            f" ({low:+.3f} to {high:+.3f})"
        )
        lines.append(
            f"- {task}, {first['n']} answers: {difference}. The fewest forwards {parts}"
            f" that are as good as the twin follow. {' '.join(said)}"
        )
    return "\n".join(lines)


def _fewest(by_rule: dict[str, int]) -> str:
    return ", ".join(f"{n} ({rule})" for rule, n in by_rule.items()) or "none of those measured"


def main() -> None:
    """Ask both and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flow", type=Path, required=True, help="model directory trained with --objective flow"
    )
    parser.add_argument(
        "--ar", type=Path, required=True, help="model directory trained with --objective ar"
    )
    parser.add_argument(
        "--forwards", type=int, nargs="+", default=FORWARDS, help="of the flow, for each part"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    flow, twin = EdgeModel.from_checkpoint(arguments.flow), EdgeModel.from_checkpoint(arguments.ar)
    if flow.config.causal or not twin.config.causal:
        raise UsageError(
            "--flow and --ar: expected a flow and an autoregressive model, in this order"
        )
    emoji = heldout()
    questions = Questions(flow, emoji), Questions(twin, emoji)
    weights = {
        name: file_sha256(path / "model.safetensors")
        for name, path in (("flow", arguments.flow), ("ar", arguments.ar))
    }
    results = {task: compared(*questions, task, arguments.forwards) for task in questions[0].tasks}
    with atomic_write(arguments.out, "w") as file:
        file.write(
            json.dumps({"weights": weights, "views": VIEWS, "tasks": results}, indent=1) + "\n"
        )
    for task, found in results.items():
        print(
            task,
            json.dumps({key: value for key, value in found.items() if key.startswith("fewest")}),
        )


if __name__ == "__main__":
    main()
