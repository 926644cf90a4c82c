"""`make demo-7b`: the paper's own shape, nine billion random weights, exported, quantised and run
on a machine of 8 GB.

    python examples/nextomni_7b.py --folder build/nextomni-7b -o examples/nextomni_7b.json

Weights are made as they are read, so the checkpoint takes no disk. Stages, each in a process of its
own whose peak memory is measured: export to float16, INT8, INT4, a block of text and a step of a
picture with INT4, and what `bench --plan` says of them. A stage that is done stays done: the same
command goes on after an interruption, quantisation at the layer where it stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import staged
from staged import Result, Tell, accounted, load, quantise

from nextomni_edge.config import NAMED, ModelConfig, named_config
from nextomni_edge.measure import config_weights
from nextomni_edge.runtimes.machine import free_memory

# and their share of the time
STAGES = {"export": 0.35, "int8": 0.2, "int4": 0.2, "text": 0.1, "image": 0.13, "plan": 0.02}
BUNDLES = {"export": "float16", "int8": "int8", "int4": "int4"}
PROMPTS = {"text": "what is this?", "image": "draw a red rocket"}
# bytes resident that the table promises
LIMITS = {"export": 2 * 10**9, "int4": 2 * 10**9, "text": 8 * 10**9, "image": 8 * 10**9}
SLACK = 2**30  # of the disk, left to others


def export(folder: Path, config: ModelConfig, tell: Tell) -> Result:
    """The float16 bundle; not verified, which would hold the whole model in PyTorch."""
    from nextomni_edge.export import export_bundle
    from nextomni_edge.models.generated import GeneratedCheckpoint
    from nextomni_edge.tokens.train import train_tokenizer

    train_tokenizer(list(PROMPTS.values()), 320, folder / "tokenizer.json")
    model = GeneratedCheckpoint(config, folder / "tokenizer.json")
    report = export_bundle(
        model, folder / "float16", precision="float16", overwrite=True, progress=tell, verify="none"
    )
    return accounted(folder / "float16") | {"parameters": report.parameters}


def generate(folder: Path, modality: str, steps: int, tell: Tell) -> Result:
    """One response with the INT4 bundle: its forwards' seconds, and the memory after loading and at
    the peak."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.tokens.chat import Part, Turn, conversation, respond

    began = time.perf_counter()
    components = ("embed_text", f"embed_{modality}", "backbone", f"{modality}_head")
    model = EdgeModel.from_bundle(
        Bundle.open(folder / "int4", verify_hashes=False), components=components
    )
    loaded = staged.loaded_since(began)
    asked = conversation(
        model.tokenizer, [Turn("user", (Part("text", PROMPTS[modality]),))], modality
    )
    sequence = respond(asked, modality, model.config, model.tokenizer)
    options = GenerationOptions.defaults(model.config, modality, steps=steps)

    def stepped(done: int) -> None:
        tell(f"{modality}: step {done} of {steps}", done / steps)

    return loaded | staged.generated(model, sequence, options, stepped)


def plan(done: dict[str, Result], config: ModelConfig) -> Result:
    """The bound on this processor beside what was measured on it."""
    from nextomni_edge.measure import Step, estimate
    from nextomni_edge.measure.probe import probe

    processor, found = probe(), dict[str, Any]()
    for modality in ("text", "image"):
        ran = done[modality]
        step = Step(modality, ran["positions"] - ran["generated"], ran["generated"])  # type: ignore[arg-type]
        bound = estimate(config, config_weights(config, "int4"), "int4", step, processor)
        found[modality] = bound.to_json() | {
            "measured_over_bound": ran["seconds_per_forward"] / bound.seconds
        }
    return found


def run_stage(
    stage: str, folder: Path, config: ModelConfig, steps: int, done: dict[str, Result], tell: Tell
) -> Result:
    """The measured process's work."""
    if stage == "export":
        return export(folder, config, tell)
    if stage in ("int8", "int4"):
        recipe = {"int8": "int8-dynamic", "int4": "int4-rtn"}[stage]
        return quantise(folder / "float16", folder / stage, recipe, tell)
    if stage == "plan":
        return plan(done, config)
    return generate(folder, stage, steps if stage == "text" else 1, tell)


def check_room(folder: Path, config: ModelConfig, done: dict[str, Result]) -> None:
    """UsageError, before anything is written: the disk or the memory is too small for what is left
    to do."""
    sizes = {
        stage: sum(config_weights(config, precision).values())
        for stage, precision in BUNDLES.items()
    }  # type: ignore[arg-type]
    larger = max((sizes[stage] for stage in ("int8", "int4") if stage not in done), default=0)
    needed = (0 if "export" in done else sizes["export"]) + larger + SLACK if larger else 0
    staged.check_free(folder, needed, free_memory(), int(1.5 * sizes["int4"]))


def run_stages(given: argparse.Namespace, config: ModelConfig) -> dict[str, Result]:
    """Every stage that is not done, in order; float16 and INT8 go when nothing needs them any
    more."""
    check_room(given.folder, config, load(given.folder))
    return staged.run_stages(
        "nextomni-7b",
        STAGES,
        given.folder,
        lambda stage, tell: supervised(given, stage, tell),
        {} if given.keep else {"int8": "int8", "int4": "float16"},
    )


def supervised(given: argparse.Namespace, stage: str, tell: Tell) -> Result:
    """A stage in a process of its own. NextOmniError: it failed; what it said is on stderr."""
    command = [
        __file__, "--folder", str(given.folder), "--config", given.config, "--stage", stage,
        "--text-steps", str(given.text_steps),
    ]  # fmt: skip
    return staged.supervised(command, stage, tell)


def table(done: dict[str, Result]) -> str:
    """What was measured, a row for each stage."""
    lines = [
        "| stage | peak memory, GB | time, s | disk, GB | per forward, s | of the bound |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for stage in STAGES:
        each = done[stage]
        size = f"{each['bytes'] / 1e9:.2f}" if "bytes" in each else ""
        forward = f"{each['seconds_per_forward']:.2f}" if "seconds_per_forward" in each else ""
        ratio = f"{done['plan'][stage]['measured_over_bound']:.2f}" if stage in done["plan"] else ""
        lines.append(
            f"| {stage} | {each['peak_bytes'] / 1e9:.2f} | {each['seconds']:.0f} | {size} |"
            f" {forward} | {ratio} |"
        )
    return "\n".join(lines)


def check_limits(done: dict[str, Result]) -> None:
    """NextOmniError: a stage took more memory than is promised."""
    staged.check_limits(done, LIMITS)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/nextomni-7b"),
        help="for the bundles: 28 GB at most",
    )
    parser.add_argument("-o", "--output", type=Path, help="write all numbers as JSON")
    parser.add_argument(
        "--config", default="nextomni-7b", help=f"{', '.join(NAMED)}, or a config file"
    )
    parser.add_argument(
        "--text-steps",
        type=int,
        default=4,
        help="steps of the text block; the first needs no forward",
    )
    parser.add_argument("--keep", action="store_true", help="keep the float16 and the INT8 bundle")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parsed()
    config = (
        ModelConfig.load(Path(given.config))
        if Path(given.config).is_file()
        else named_config(given.config)
    )
    if given.stage:
        done = load(given.folder)
        staged.child(
            lambda tell: run_stage(given.stage, given.folder, config, given.text_steps, done, tell)
        )
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    done = run_stages(given, config)
    print(table(done))
    if given.output:
        staged.write(given.output, done)
    check_limits(done)


if __name__ == "__main__":
    staged.ended(main)
