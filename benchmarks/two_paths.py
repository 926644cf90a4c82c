"""The demo's text trained on two paths: `python benchmarks/two_paths.py [--folder DIR] [-o FILE]`,
a table and JSON.

Both arms are one network from one seed, with the same draws, updates and optimiser; only the path
differs: metric (METHOD 3), or mixture with a mask source and the weight 1/t (METHOD 9). The text is
that of the demo's pages: a word is asked for, and its letters answered forwards, backwards and
sorted. Words are pairs of the demo's own words, cut and joined at random; those that are asked were
never met in training. Each arm is scored by whole answers and by characters, at n forwards: the
metric path by both of its rules, the masks by the exact jump and by commits. Intervals are Wilson's
of whole answers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from nextomni_edge.config import ModelConfig, PathConfig
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond, text_response
from nextomni_edge.tokens.sequence import Segment, Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.tokens.train import train_tokenizer
from nextomni_edge.train.objective import Draw, Objective

ROOT: Final = Path(__file__).parents[1]
ARMS: Final = ("metric", "mask")
FORWARDS: Final = (1, 2, 4, 8, 16)
# by arm, the kinds of step
STEPPERS: Final = {"metric": ("euler", "corrected"), "mask": ("jump", "commit")}
LETTERS: Final = 5
BLOCK: Final = 6
TOKENS: Final = 18
BATCH: Final = 32
RATE: Final = 3e-3
BACKBONE: Final = {
    "hidden_size": 96, "layers": 3, "query_heads": 4, "kv_heads": 2, "mlp_size": 288,
    "max_positions": 256,
}  # fmt: skip


def words_of(count: int, seed: int) -> list[str]:
    """Different words of LETTERS letters: pieces of two of the demo's words, joined."""
    concepts = json.loads((ROOT / "examples" / "emoji" / "concepts.json").read_text("utf-8"))
    known = sorted(
        {
            word.replace(" ", "").replace("-", "")
            for concept in concepts
            for word in (concept["name"], concept["category"], *concept["tags"])
        }
    )
    rng, found = np.random.default_rng(seed), dict[str, None]()
    while len(found) < count:
        one, other = (known[at] for at in rng.integers(0, len(known), 2))
        cut = int(rng.integers(1, LETTERS))
        word = one[:cut] + other[: LETTERS - cut]
        if len(word) == LETTERS:
            found[word] = None
    return list(found)


def answer_of(word: str) -> str:
    """The letters forwards, backwards and sorted, as the demo's pages spell them."""
    return "".join((word, ";", word[::-1], ";", *sorted(word)))


def config_of(arm: str, tokenizer: TextTokenizer) -> ModelConfig:
    """One network; media parts are as small as they go."""
    data = json.loads((ROOT / "examples" / "own_model" / "config.json").read_text("utf-8"))
    config = ModelConfig.from_json(data | {"backbone": BACKBONE})
    text = dataclasses.replace(
        config.text, vocabulary_size=tokenizer.vocabulary_size, block_size=BLOCK,
        max_blocks=TOKENS // BLOCK, metric_dim=64,
    )  # fmt: skip
    path = config.flow.text
    if arm == "mask":
        commit = CommitConfig("even", "probability")
        path = PathConfig(
            kind="mixture", mask=tokenizer.special.null, commit=commit, temperature=0.0, steps=8
        )
    return dataclasses.replace(config, text=text, flow=dataclasses.replace(config.flow, text=path))


def asked(tokenizer: TextTokenizer, word: str) -> tuple[Segment, ...]:
    return conversation(tokenizer, [Turn("user", (Part("text", word),))])


def train(arm: str, folder: Path, words: list[str], updates: int) -> dict[str, Any]:
    """Train an arm and write its model directory; the mean loss of the last tenth."""
    out, tokenizer = folder / arm, TextTokenizer(folder / "tokenizer.json")
    torch.manual_seed(0)
    model, rng = OmniModel(config_of(arm, tokenizer)), np.random.default_rng(0)
    objective = Objective(model, tokenizer.special, condition_dropout=0.0)
    used = (model.embed_text, model.backbone, model.text_head)
    weights = {id(weight): weight for part in used for weight in part.parameters()}
    optimiser = torch.optim.AdamW(weights.values(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    samples = [
        Sequence((*asked(tokenizer, word), Segment(
            "text", text_response(tokenizer, answer_of(word), TOKENS), frozen=False)))
        for word in words
    ]  # fmt: skip
    losses, began = [], time.process_time()
    for update in range(updates):
        factor = min(1.0, (update + 1) / 100, 2 * (updates - update) / updates)
        for group in optimiser.param_groups:
            group["lr"] = RATE * factor
        picked = [samples[at] for at in rng.integers(0, len(samples), BATCH)]
        draw = Draw("spell", lambda *_, chosen=picked: (chosen,))
        loss, _ = objective(draw, rng, reconstruct=False)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if update % 100 == 99:
            print(f"{arm} {update + 1} of {updates}: {np.mean(losses[-100:]):.3f}", flush=True)
    part = folder / f"{arm}.part"
    shutil.rmtree(part, ignore_errors=True)
    native.save(model.eval(), folder / "tokenizer.json", part)
    part.rename(out)
    return {
        "loss": float(np.mean(losses[-max(1, updates // 10) :])),
        "processor_seconds": time.process_time() - began,
        "parameters": sum(weight.numel() for weight in weights.values()),
    }


def wilson(right: int, count: int) -> list[float]:
    """95 % interval of a share."""
    z, share = 1.96, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z
        / (1 + z * z / count)
        * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return [centre - half, centre + half]


def scored(model: EdgeModel, words: list[str], options: GenerationOptions) -> dict[str, Any]:
    """Whole answers and characters that are right, and the forwards that an answer took."""
    sequences = [
        respond(asked(model.tokenizer, word), "text", model.config, model.tokenizer,
                TOKENS // BLOCK)
        for word in words
    ]  # fmt: skip
    meter = Meter()
    found = generate_batch(model, sequences, options, list(range(len(words))), meter=meter)
    whole, characters = 0, list[float]()
    for word, sequence in zip(words, found, strict=True):
        said, expected = str(model.response(sequence).value), answer_of(word)
        whole += said == expected
        characters.append(np.mean([a == b for a, b in zip(said.ljust(len(expected)), expected,
                                                           strict=False)]))  # fmt: skip
    return {
        "right": whole, "n": len(words), "share": whole / len(words),
        "ci95": wilson(whole, len(words)), "characters": float(np.mean(characters)),
        "forwards": meter.forwards / len(words),
    }  # fmt: skip


def steps_of(stepper: str, forwards: int) -> int:
    """Euler's first step needs no forward."""
    return forwards + 1 if stepper == "euler" and forwards > 1 else forwards


def evaluate(arm: str, folder: Path, words: list[str]) -> dict[str, dict[str, Any]]:
    """Every kind of step at every number of forwards; last, commits over a threshold."""
    model, found = EdgeModel.from_checkpoint(folder / arm), dict[str, dict[str, Any]]()
    for stepper in STEPPERS[arm]:
        for forwards in FORWARDS:
            options = GenerationOptions.defaults(
                model.config, "text", stepper=stepper, steps=steps_of(stepper, forwards)
            )
            found[f"{stepper} {forwards}"] = scored(model, words, options)
            print(arm, stepper, forwards, found[f"{stepper} {forwards}"], flush=True)
    if arm == "mask":
        for threshold in (0.9, 0.5):
            options = GenerationOptions.defaults(
                model.config, "text", stepper="commit", steps=TOKENS, threshold=threshold
            )
            found[f"threshold {threshold}"] = scored(model, words, options)
    return found


def table(results: dict[str, Any]) -> str:
    """A line for each kind of step: whole answers with the interval, and characters, by n."""
    lines = [
        "| path, step | " + " | ".join(f"n = {n}" for n in FORWARDS) + " |",
        "|---|" + "---:|" * len(FORWARDS),
    ]

    def cell(point: dict[str, Any]) -> str:
        low, high = point["ci95"]
        return (
            f"{point['share']:.2f} ({low:.2f} to {high:.2f}), characters {point['characters']:.2f}"
        )

    for arm in ARMS:
        points = results["arms"][arm]["points"]
        for stepper in STEPPERS[arm]:
            named = [f"{stepper} {n}" for n in FORWARDS]
            cells = [cell(points[name]) if name in points else "" for name in named]
            lines.append(f"| {arm}, {stepper} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not trained yet, score, and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("build/two-paths"))
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--train", choices=ARMS, help="train one arm and end")
    parser.add_argument("--words", type=int, default=20000, help="for training")
    parser.add_argument("--heldout", type=int, default=300, help="words that are asked")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    words = words_of(given.words + given.heldout, seed=0)
    if not (given.folder / "tokenizer.json").exists():
        # no merges: a letter is a token
        train_tokenizer([""], 267, given.folder / "tokenizer.json")
    results: dict[str, Any] = {"updates": given.updates, "batch": BATCH, "words": given.words}
    results["arms"] = {}
    for arm in ARMS:
        kept = given.folder / f"{arm}.json"
        if given.train not in (None, arm):
            continue
        if not (given.folder / arm).is_dir():
            done = train(arm, given.folder, words[: given.words], given.updates)
            kept.write_text(json.dumps(done), encoding="utf-8")
        if given.train:
            return
        done = json.loads(kept.read_text(encoding="utf-8"))
        done["points"] = evaluate(arm, given.folder, words[given.words :])
        results["arms"][arm] = done
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
