"""Answer quality of a flow and of its autoregressive twin: `python examples/emoji/twins.py --flow DIR --ar DIR [-o FILE]`.

Both are trained on the same draws, updates and seed, a new backbone on the demo's encoders each:

    ways="--stage text --init examples/emoji/checkpoint --batch-size 32"
    python examples/emoji/train.py --data DATA --out runs/flow $ways --objective flow
    python examples/emoji/train.py --data DATA --out runs/ar $ways --objective ar

They are asked about drawings by artists whom training never met for the thing, as they are and augmented. Three tasks: the name (a
block of 8 tokens), a listing of all that is known of the drawing (37 to 60 tokens in a block of 64), and a page that spells each of
its words in three orders (186 to 256 tokens in a block of 256). An answer is right when every character is, up to the artist.
The twin decodes greedily; the flow takes the argmax, with at most n forwards, by either step rule. Intervals are 95 %, by a
bootstrap over drawings, as views of one are not independent; differences are paired.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from catalog import load_concepts
from dataset import Emoji
from numpy.typing import NDArray
from samples import heldout
from tasks import LIST_IT, LISTING_TOKENS, PAGE_TOKENS, SPELL_IT, WHAT_IS_THIS, listing, page

from nextomni_edge.checkpoint import file_sha256
from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.autoregressive import greedy
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence

FORWARDS = (1, 2, 3, 4, 6, 8, 16)
VIEWS = 2
ARTIST = "; by"  # what follows is not scored: training never met that artist with that thing
RESAMPLES = 4000
Right = NDArray[np.bool_]  # (drawings, views)
Decode = Callable[[list[Sequence], Meter], list[Sequence]]


class Questions:
    """The held-out drawings, encoded, and what the right answers about each are."""

    def __init__(self, model: EdgeModel, emoji: Emoji) -> None:
        self.model = model
        rows, known = emoji.drawings(heldout=True), {concept.name: concept for concept in load_concepts()}
        names = [emoji.concepts[index] for index in emoji.drawing_concept[rows]]
        artists = [emoji.artists[index] for index in emoji.drawing_artist[rows]]
        listed, spelled = (
            [write(known[name], artist) for name, artist in zip(names, artists, strict=True)] for write in (listing, page)
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
        given = [conversation(self.model.tokenizer, (Turn("user", (part, Part("text", asked))),)) for part in pictures]
        return [respond(segments, "text", self.model.config, self.model.tokenizer, blocks) for segments in given]

    def right(self, task: str, answers: list[Sequence]) -> Right:
        said = [str(self.model.response(answer).value).split(ARTIST)[0] for answer in answers]
        tokenizer = self.model.tokenizer
        expected = [tokenizer.decode(tokenizer.encode(text)).split(ARTIST)[0] for text in self.tasks[task][2]]
        right: Right = np.asarray(said).reshape(-1, VIEWS) == np.asarray(expected)[:, None]
        return right


def resampled(values: NDArray[np.float64]) -> list[float]:
    """95 % interval of the mean of values (drawings,) by resampling drawings."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    return [float(bound) for bound in np.quantile(means, [0.025, 0.975])]


def scored(right: Right, meter: Meter, twin: Right | None = None) -> dict[str, Any]:
    """The share of right answers, what it took, and the raw outcomes, a string of 0 and 1 for each drawing."""
    found: dict[str, Any] = {
        "value": float(right.mean()), "ci95": resampled(right.mean(axis=1)), "n": right.size, "drawings": len(right),
        "forwards": meter.forwards / meter.requests,
    }  # fmt: skip
    if twin is not None:
        difference = right.mean(axis=1) - twin.mean(axis=1)
        found |= {"minus_twin": float(difference.mean()), "minus_twin_ci95": resampled(difference)}
    return found | {"right": ["".join(str(int(view)) for view in own) for own in right]}


def flow_options(model: EdgeModel, stepper: str, forwards: int) -> GenerationOptions:
    """So many forwards at most. Euler has one step more, the first, which needs none."""
    steps = forwards + 1 if stepper == "euler" and forwards > 1 else forwards
    return GenerationOptions.defaults(model.config, "text", stepper=stepper, steps=steps)


def flow_decode(model: EdgeModel, options: GenerationOptions, sequences: list[Sequence], meter: Meter) -> list[Sequence]:
    return generate_batch(model, sequences, options, list(range(len(sequences))), meter=meter)


def measured(questions: Questions, task: str, decode: Decode, twin: Right | None = None) -> tuple[dict[str, Any], Right]:
    meter = Meter()
    right = questions.right(task, decode(questions.sequences(task), meter))
    return scored(right, meter, twin), right


def smallest(points: dict[str, dict[str, Any]], fits: Callable[[dict[str, Any]], bool]) -> dict[str, int]:
    """By step rule, the fewest forwards of a point that fits."""
    found: dict[str, int] = {}
    for name, point in points.items():
        rule, forwards = name.split()
        if fits(point):
            found[rule] = min(int(forwards), found.get(rule, int(forwards)))
    return found


def compared(flow: Questions, twin: Questions, task: str) -> dict[str, Any]:
    """One task: the twin, the flow at each number of forwards, and the fewest at equal quality in two readings."""
    reference, right = measured(twin, task, lambda sequences, meter: greedy(twin.model, sequences, meter=meter))
    print(f"{task:<8} ar            {reference['value']:.3f} {reference['ci95']}", flush=True)
    points: dict[str, dict[str, Any]] = {}
    for stepper in ("euler", "corrected"):
        for forwards in FORWARDS:
            decode = functools.partial(flow_decode, flow.model, flow_options(flow.model, stepper, forwards))
            point, _ = measured(flow, task, decode, right)
            points[f"{stepper} {forwards}"] = point
            print(f"{task:<8} {stepper} {forwards:<3} {point['value']:.3f} {point['ci95']} {point['minus_twin_ci95']}", flush=True)
    return {
        "ar": reference, "flow": points,
        "fewest_at_least_as_good": smallest(points, lambda point: point["minus_twin"] >= 0),
        "fewest_not_told_apart": smallest(points, lambda point: point["minus_twin_ci95"][1] >= 0),
    }  # fmt: skip


def _cell(point: dict[str, Any]) -> str:
    low, high = point["ci95"]
    return f"{point['value']:.2f} ({low:.2f} to {high:.2f})" if point["value"] else f"none of {point['n']}"


def table(tasks: dict[str, Any]) -> str:
    """Markdown: right answers of the twin, and of the flow by step rule and number of forwards, with their intervals."""
    forwards = sorted({int(name.split()[1]) for found in tasks.values() for name in found["flow"]})
    head = ["task", "twin", "flow", *(f"{n} forward{'s' if n > 1 else ''}" for n in forwards)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for task, found in tasks.items():
        for rule in dict.fromkeys(name.split()[0] for name in found["flow"]):
            cells = [_cell(found["flow"][f"{rule} {n}"]) for n in forwards]
            lines.append(f"| {' | '.join([task, _cell(found['ar']), rule, *cells])} |")
    lines.append("")
    for task, found in tasks.items():
        fewest = ", ".join(f"{n} ({rule})" for rule, n in found["fewest_at_least_as_good"].items()) or "none of those measured"
        lines.append(f"- {task}: fewest forwards at least as good as the twin: {fewest}.")
    return "\n".join(lines)


def main() -> None:
    """Ask both and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flow", type=Path, required=True, help="model directory trained with --objective flow")
    parser.add_argument("--ar", type=Path, required=True, help="model directory trained with --objective ar")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    flow, twin = EdgeModel.from_checkpoint(arguments.flow), EdgeModel.from_checkpoint(arguments.ar)
    if flow.config.causal or not twin.config.causal:
        raise UsageError("--flow and --ar: expected a flow and an autoregressive model, in this order")
    emoji = heldout()
    questions = Questions(flow, emoji), Questions(twin, emoji)
    weights = {name: file_sha256(path / "model.safetensors") for name, path in (("flow", arguments.flow), ("ar", arguments.ar))}
    results = {task: compared(*questions, task) for task in questions[0].tasks}
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps({"weights": weights, "views": VIEWS, "tasks": results}, indent=1) + "\n")
    for task, found in results.items():
        print(task, json.dumps({key: value for key, value in found.items() if key.startswith("fewest")}))


if __name__ == "__main__":
    main()
