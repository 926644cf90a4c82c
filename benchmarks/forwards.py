"""Quality against the number of forwards, per modality: `python benchmarks/forwards.py [--quick]
[--bundle DIR] [-o FILE]`.

Every way of stepping (Euler, corrected, corrected on a grid of equal expected jumps) at every
number of steps n, and every policy of caches and lengths at the model's own n, is scored on
examples/emoji's held-out items by its measures and judges. Written as JSON, with Wilson's 95 %
intervals, forwards per answer, positions reused and seconds; and with the smallest n of each way of
stepping whose score is not below the interval of Euler at 64. A run that was cut short goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "emoji"
sys.path.insert(0, str(EXAMPLE))

import exam as examination  # noqa: E402  (the example's modules import each other by bare name)
import measures  # noqa: E402
from demo_bundle import BUNDLE, ensure_bundle  # noqa: E402
from exam import Exam, Outcome, wilson  # noqa: E402
from judges import JUDGES, Panel  # noqa: E402
from measures import MEASURES  # noqa: E402
from prompts import (  # noqa: E402
    GENERATION_VOICES,
    WHAT_IS_THIS,
    draw_prompt,
    say_prompt,
)
from samples import heldout, trained, trained_pairs  # noqa: E402

from nextomni_edge.bundle import Bundle, bundle_identity  # noqa: E402
from nextomni_edge.files import atomic_write  # noqa: E402
from nextomni_edge.flow.schedule import grid  # noqa: E402
from nextomni_edge.generate.grid import count_jumps, equal_jumps  # noqa: E402
from nextomni_edge.generate.loop import generate_batch  # noqa: E402
from nextomni_edge.generate.meter import Meter  # noqa: E402
from nextomni_edge.generate.model import EdgeModel  # noqa: E402
from nextomni_edge.generate.options import GenerationOptions  # noqa: E402
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond  # noqa: E402
from nextomni_edge.tokens.sequence import Sequence  # noqa: E402

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
REFERENCE = "euler 64"
FINE = 64  # steps of the runs that a grid is found from
CALIBRATION = 32  # such runs


@dataclass(frozen=True)
class Curve:
    """One modality: the measure that scores it, and how many times as often as a picture each
    concept is asked for."""

    kind: Kind
    measure: str
    times: int = 1


CURVES = (
    Curve("text", "image_to_text_heldout_artist"),
    Curve("image", "text_to_image_named"),
    # right less often, so as narrow an interval takes more of them
    Curve("audio", "text_to_audio_transcribed", 2),
)
CACHES: tuple[dict[str, Any], ...] = (
    {"kv_cache": "prefix"}, {"kv_cache": "prefix", "refresh_prompt": 4}, {"kv_cache": "adaptive"},
    {"kv_cache": "adaptive", "cache_share": 0.25, "refresh_prompt": 8, "refresh": 8},
    {"kv_cache": "revised"}, {"kv_cache": "revised", "refresh_prompt": 8, "refresh": 8},
)  # fmt: skip


@dataclass
class Results:
    """What was scored so far, of one bundle, by modality and settings."""

    path: Path
    identity: dict[str, Any]
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, identity: dict[str, Any]) -> Results:
        """Those of an earlier run of the same bundle with the same items, if there was one."""
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        same = found.get("identity") == identity
        return cls(path, identity, found["scores"] if same else {})

    def add(self, kind: str, name: str, score: dict[str, Any]) -> None:
        self.scores.setdefault(kind, {})[name] = score
        with atomic_write(self.path, "w") as file:
            data = {"identity": self.identity, "scores": self.scores, "smallest": self.smallest()}
            file.write(json.dumps(data, indent=1) + "\n")

    def smallest(self) -> dict[str, dict[str, int]]:
        """By modality and way of stepping, the smallest n that is not below the reference's
        interval."""
        found: dict[str, dict[str, int]] = {}
        for kind, scores in self.scores.items():
            if REFERENCE not in scores:
                continue
            floor = scores[REFERENCE]["ci95"][0]
            for score in scores.values():
                if score["stepping"] and score["value"] >= floor:
                    best = found.setdefault(kind, {})
                    best[score["stepping"]] = min(
                        score["steps"], best.get(score["stepping"], score["steps"])
                    )
        return found


def calibration_sequences(exam: Exam, kind: Kind) -> list[Sequence]:
    """Requests about concepts of the training split."""
    model, pairs = exam.model, trained_pairs()[:CALIBRATION]
    if kind == "text":
        pictures = exam.pictures(exam.seen, measures._drawing_rows(exam.seen)[0])[:CALIBRATION]
        prompts = [(picture, Part("text", WHAT_IS_THIS)) for picture in pictures]
    elif kind == "image":
        prompts = [(Part("text", draw_prompt(*pair)),) for pair in pairs]
    else:
        prompts = [(Part("text", say_prompt(name, GENERATION_VOICES[0])),) for name, _ in pairs]
    given = [conversation(model.tokenizer, [Turn("user", parts)]) for parts in prompts]
    count = 1 if kind == "text" else None
    return [respond(segments, kind, model.config, model.tokenizer, count) for segments in given]


def ways(
    exam: Exam, kind: Kind, steps: list[int]
) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """(name, way of stepping, settings) of everything to score; of a cache or a length there is no
    way of stepping."""
    yield REFERENCE, "euler", {"steps": 64, "stepper": "euler"}
    sequences = calibration_sequences(exam, kind)
    fine = GenerationOptions.defaults(
        exam.model.config, kind, steps=FINE, stepper="corrected", stop_early=False
    )
    jumps = count_jumps(exam.model, sequences, fine, list(range(len(sequences))))
    for n in steps:
        yield f"euler {n}", "euler", {"steps": n, "stepper": "euler"}
        yield f"corrected {n}", "corrected", {"steps": n, "stepper": "corrected"}
        if n > 1:
            times = equal_jumps(jumps, grid(FINE), n)
            yield (
                f"equal jumps {n}",
                "equal jumps",
                {"steps": n, "stepper": "corrected", "grid": times},
            )
    default = GenerationOptions.defaults(exam.model.config, kind).steps
    most = exam.model.config.text.max_blocks
    lengths = (
        ({"max_blocks": most}, {"max_blocks": most, "extend": "interleaved"})
        if kind == "text"
        else ()
    )
    for policy in (*CACHES, *lengths):
        yield (
            ", ".join(f"{name} {value}" for name, value in policy.items()),
            None,
            {"steps": default, **policy},
        )


def score(exam: Exam, curve: Curve, settings: dict[str, Any]) -> dict[str, Any]:
    """One point: the share of right answers with its interval, and what an answer cost."""
    meter = Meter()
    examination.generate_batch = functools.partial(generate_batch, meter=meter)  # type: ignore[attr-defined]
    began = time.process_time()
    asked = dataclasses.replace(exam, settings=settings, rounds=exam.rounds * curve.times)
    outcomes: list[Outcome] = MEASURES[curve.measure](asked)
    seconds = time.process_time() - began
    right, n = sum(outcome.right for outcome in outcomes), len(outcomes)
    return {
        "value": right / n, "n": n, "ci95": wilson(right, n), "steps": settings["steps"],
        "forwards": meter.forwards / meter.requests, "rows": meter.rows / meter.requests,
        "rows_reused": meter.rows_reused / meter.requests, "processor_seconds": seconds / n,
        "settings": settings,
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Markdown: a line per number of steps, a column per modality and way of stepping: per cent
    right, and their interval."""
    columns = [(kind, way) for kind in data["smallest"] for way in data["smallest"][kind]]
    heads = [f"{kind}, {way}" for kind, way in columns]
    lines = ["| n | " + " | ".join(heads) + " |", "| ---: " * (1 + len(columns)) + "|"]
    found = {
        (kind, own["stepping"], own["steps"]): own
        for kind, scores in data["scores"].items()
        for own in scores.values()
    }
    for n in sorted({steps for _, way, steps in found if way}):
        lines.append(
            f"| {n} | " + " | ".join(_cell(found.get((*column, n))) for column in columns) + " |"
        )
    least = [str(data["smallest"][kind][way]) for kind, way in columns]
    return "\n".join([*lines, "| least n inside | " + " | ".join(least) + " |"])


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    low, high = score["ci95"]
    return f"{100 * score['value']:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    """Score what is not scored yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="demo/bundle where none is given")
    parser.add_argument("--quick", action="store_true", help="each concept once, not twice")
    parser.add_argument(
        "--steps",
        default=",".join(map(str, STEPS)),
        help="the n to score, with commas between them",
    )
    parser.add_argument(
        "--kinds", default="text,image,audio", help="modalities, with commas between them"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    bundle = arguments.bundle or ensure_bundle(BUNDLE, print)
    model, panel = EdgeModel.from_bundle(Bundle.open(bundle)), Panel(JUDGES)
    exam = Exam(
        model,
        panel,
        heldout(),
        trained(),
        {},
        1 if arguments.quick else 2,
        0,
        lambda done, total: None,
    )
    identity = {"bundle": bundle_identity(bundle), "judges": panel.digest, "rounds": exam.rounds}
    results = Results.open(arguments.out, identity)
    for curve in (curve for curve in CURVES if curve.kind in arguments.kinds.split(",")):
        for name, stepping, settings in ways(
            exam, curve.kind, [int(n) for n in arguments.steps.split(",")]
        ):
            if name not in results.scores.get(curve.kind, {}):
                results.add(curve.kind, name, score(exam, curve, settings) | {"stepping": stepping})
            found = results.scores[curve.kind][name]
            low, high = found["ci95"]
            cost = (
                f"{found['forwards']:.1f} forwards, {found['rows_reused']:.0f} of"
                f" {found['rows_reused'] + found['rows']:.0f} reused"
            )
            print(
                f"{curve.kind:<6} {name:<44} {found['value']:.3f} ({low:.3f} to {high:.3f}) "
                f" {cost}",
                flush=True,
            )
    print(json.dumps(results.smallest()))


if __name__ == "__main__":
    main()
