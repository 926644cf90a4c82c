"""What a cache or a threshold costs a masked model: `python benchmarks/masked_caches.py [--trained
DIR] [-o FILE]`, a table and JSON.

The run without a cache decides which tokens are written; every policy stands at the same x_t in
every step, and predicts x_1 with the same noise. A prediction is read where its row is written: the
share of those that differ is the price, next to the share of positions that were computed. A
threshold changes which rows are written, so it runs by itself: its forwards, and the share of its
answer that differs from the answer of one token a step.

Models are the recorded checkpoints of tests/published/golden, which are random and so near ties
everywhere, and a small model that benchmarks/two_paths.py has trained with a mask source.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import two_paths

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.rows import Ids
from nextomni_edge.generate.unmask import Unmasking
from nextomni_edge.models.networks import expected_shapes
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence

GOLDEN: Final = Path(__file__).parents[1] / "tests" / "published" / "golden"
TOKENIZERS: Final = {"lumina_dimoo": GOLDEN / "vq_amused" / "vqvae"}
PROMPTS: Final = ("a red house", "what is this?", "two apples on the table", "the river")
POLICIES: Final[tuple[dict[str, Any], ...]] = (
    {"kv_cache": "prefix"},
    {"kv_cache": "revised"},
    {"kv_cache": "blocks"},
    {"kv_cache": "dual"},
    {"kv_cache": "dual", "refresh": 4, "refresh_prompt": 4},
    {"kv_cache": "logits", "cache_share": 0.5, "refresh": 5},
)
THRESHOLDS: Final = (0.9, 0.7, 0.5)


@dataclass(frozen=True)
class Case:
    """One kind of answer of one model."""

    name: str
    model: EdgeModel
    kind: Kind
    sequences: list[Sequence]
    options: GenerationOptions


def imported(family: str, folder: Path) -> EdgeModel:
    """A recorded checkpoint as a model."""
    out = folder / family
    import_model(GOLDEN / family, out, expected_shapes, image_tokenizer=TOKENIZERS.get(family))
    return EdgeModel.from_checkpoint(out)


def cases(folder: Path, trained: Path) -> list[Case]:
    """Texts of 32 tokens in blocks of 8, a picture of 24 positions, and the trained model's
    answers in blocks of 6."""
    found = []

    def add(name: str, model: EdgeModel, kind: Kind, **settings: Any) -> None:
        asked = [
            conversation(model.tokenizer, [Turn("user", (Part("text", words),))], kind)
            for words in PROMPTS
        ]
        text = {"length": 32} if kind == "text" else {"size": (96, 64)}
        sequences = [respond(one, kind, model.config, model.tokenizer, **text) for one in asked]  # type: ignore[arg-type]
        options = GenerationOptions.defaults(model.config, kind, guidance=0.0, **settings)
        found.append(Case(name, model, kind, sequences, options))

    for family in ("llada", "dream", "lumina_dimoo"):
        model = imported(family, folder)
        add(f"{family}, text", model, "text", steps=16, block=8, temperature=0.0)
        if "image" in model.config.modalities:
            add(f"{family}, picture", model, "image", steps=12)
    if not (trained / "mask").is_dir():
        print(f"{trained}: no trained model; benchmarks/two_paths.py makes it", file=sys.stderr)
        return found
    model = EdgeModel.from_checkpoint(trained / "mask")
    words = two_paths.words_of(20_300, seed=0)[-64:]
    sequences = [
        respond(two_paths.asked(model.tokenizer, word), "text", model.config, model.tokenizer,
                two_paths.TOKENS // two_paths.BLOCK)
        for word in words
    ]  # fmt: skip
    options = GenerationOptions.defaults(model.config, "text", stepper="commit", steps=9, block=6)
    found.append(Case("trained, text", model, "text", sequences, options))
    return found


def name_of(policy: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in policy.items())


def compared(case: Case) -> dict[str, dict[str, float]]:
    """By policy: predictions read, the share of them that is wrong, and the share of positions
    computed."""
    batch = Batch(case.sequences, list(range(len(case.sequences))))
    exact = Unmasking(case.model, batch, case.options, Meter())
    meters, kept = [Meter() for _ in POLICIES], list[Unmasking | None]()
    for policy, meter in zip(POLICIES, meters, strict=True):
        fits = policy["kv_cache"] != "logits" or case.model.config.logit_shift == 0
        options = case.options.changed(**policy)
        kept.append(Unmasking(case.model, batch, options, meter) if fits else None)
    steps, rows = list[tuple[Ids, list[Ids]]](), 0
    for record in exact.steps(range(len(batch)), margins=True):
        if record.request:
            continue  # one record a request; the state is that of the whole batch
        x_t = exact.x_t
        found = [one.follow(record.step, x_t)[1] if one else x_t for one in kept]
        rows += int(batch.lengths.sum())
        steps.append((x_t, found))
    wrong, read = np.zeros(len(POLICIES)), 0
    states = [*(x_t for x_t, _ in steps), exact.x_t]
    for (x_t, found), x_next in zip(steps, states[1:], strict=True):
        written = x_next != x_t
        read += int(written.sum())
        wrong += [float((x_1 != x_next)[written].sum()) for x_1 in found]
    return {
        name_of(policy): {
            "read": read, "wrong": float(wrong[index] / read),
            "computed": meters[index].rows / rows,
        }
        for index, policy in enumerate(POLICIES)
        if kept[index] is not None
    }  # fmt: skip


def joined(sequence: Sequence) -> Ids:
    """All generated tokens (R,)."""
    return np.concatenate([sequence.segments[at].tokens.ravel() for at in sequence.generated()])


def thresholds(case: Case) -> dict[str, dict[str, float]]:
    """By threshold: forwards an answer, and the share of its tokens that differ from those of one
    token a step."""
    seeds, rows = list(range(len(case.sequences))), 0

    def answers(**settings: Any) -> tuple[list[Sequence], float]:
        meter = Meter()
        options = case.options.changed(**settings)
        found = generate_batch(case.model, case.sequences, options, seeds, meter=meter)
        return found, meter.forwards / len(seeds)

    rows = sum(len(case.sequences[0].segments[at]) for at in case.sequences[0].generated())
    slow, most = answers(steps=rows)
    found = {"one a step": {"forwards": most, "differs": 0.0}}
    for threshold in THRESHOLDS:
        fast, forwards = answers(steps=rows, threshold=threshold)
        differs = [(joined(a) != joined(b)).mean() for a, b in zip(slow, fast, strict=True)]
        found[f"threshold {threshold}"] = {"forwards": forwards, "differs": float(np.mean(differs))}
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line for each policy, then for each threshold; a column for each kind of answer."""
    names = list(results)
    lines = [["policy", *names], ["---", *["---:"] * len(names)]]
    for name in map(name_of, POLICIES):
        cells = [results[case]["caches"].get(name) for case in names]
        lines.append(
            [f"`{name}`"] + [f"{c['wrong']:.1%} of {c['computed']:.0%}" if c else "" for c in cells]
        )
    for name in ("one a step", *(f"threshold {each}" for each in THRESHOLDS)):
        cells = [results[case]["thresholds"].get(name) for case in names]
        lines.append(
            [f"`{name}`"]
            + [f"{c['differs']:.1%}, {c['forwards']:.1f} forwards" if c else "" for c in cells]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure every case and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trained", type=Path, default=Path("build/two-paths"))
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder), given.trained):
            fits = case.kind == "text"
            results[case.name] = {
                "caches": compared(case), "thresholds": thresholds(case) if fits else {},
            }  # fmt: skip
            print(case.name, "done", file=sys.stderr, flush=True)
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
