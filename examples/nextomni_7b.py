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
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from nextomni_edge.cli.console import Console
from nextomni_edge.config import NAMED, ModelConfig, named_config
from nextomni_edge.errors import InputError, NextOmniError, UsageError
from nextomni_edge.files import atomic_write
from nextomni_edge.measure import config_weights

HERE = Path(__file__).parent
# and their share of the time
STAGES = {"export": 0.35, "int8": 0.2, "int4": 0.2, "text": 0.1, "image": 0.13, "plan": 0.02}
BUNDLES = {"export": "float16", "int8": "int8", "int4": "int4"}
PROMPTS = {"text": "what is this?", "image": "draw a red rocket"}
# bytes resident that the table promises
LIMITS = {"export": 2 * 10**9, "int4": 2 * 10**9, "text": 8 * 10**9, "image": 8 * 10**9}
SLACK = 2**30  # of the disk, left to others
Tell = Callable[[str, float], None]
Result = dict[str, Any]


def status(key: str) -> int:
    """Bytes of an entry of this process's status. Not getrusage's peak, which a process inherits
    from the one that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


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


def quantise(folder: Path, name: str, recipe_name: str, tell: Tell) -> Result:
    """An integer bundle of the float16 one, round to nearest, nothing run."""
    from nextomni_edge.calibration import quantize
    from nextomni_edge.calibration.recipes.config import recipe

    report = quantize(
        folder / "float16", folder / name, recipe(recipe_name), overwrite=True, progress=tell
    )
    return accounted(folder / name) | {"components": report.components}


def accounted(bundle: Path) -> Result:
    """Bytes on the disk. InputError: they are not those that the graphs reference."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.bundle.accounting import account

    opened = Bundle.open(bundle, verify_hashes=False)
    found = account(opened)
    if not found.exact:
        raise InputError(
            f"{bundle}: {found.on_disk:,} bytes of weights, its graphs reference"
            f" {found.referenced:,}"
        )
    total = sum(record.size for record in opened.manifest.files.values())
    return {
        "bytes": total,
        "weights_on_disk": found.on_disk,
        "weights_referenced": found.referenced,
        "largest_file": found.largest_file,
    }


def generate(folder: Path, modality: str, steps: int, tell: Tell) -> Result:
    """One response with the INT4 bundle: its forwards' seconds, and the memory after loading and at
    the peak."""
    from nextomni_edge.bundle import Bundle
    from nextomni_edge.generate.loop import generate
    from nextomni_edge.generate.meter import Meter
    from nextomni_edge.generate.model import EdgeModel
    from nextomni_edge.generate.options import GenerationOptions
    from nextomni_edge.tokens.chat import Part, Turn, conversation, respond

    began = time.perf_counter()
    components = ("embed_text", f"embed_{modality}", "backbone", f"{modality}_head")
    model = EdgeModel.from_bundle(
        Bundle.open(folder / "int4", verify_hashes=False), components=components
    )
    loaded = {"load_seconds": time.perf_counter() - began, "peak_after_load": status("VmHWM")}
    loaded |= {"private_after_load": status("RssAnon"), "mapped_after_load": status("RssFile")}
    asked = conversation(
        model.tokenizer, [Turn("user", (Part("text", PROMPTS[modality]),))], modality
    )
    sequence = respond(asked, modality, model.config, model.tokenizer)
    options = GenerationOptions.defaults(model.config, modality, steps=steps)
    meter, forwards = Meter(keeps_events=True), 0

    def observe(record: Any) -> None:
        nonlocal forwards
        forwards += record.x_1 is not None
        tell(f"{modality}: step {record.step + 1} of {steps}", (record.step + 1) / steps)

    worked = time.process_time()
    found = generate(model, sequence, options, observe=observe, meter=meter)
    worked = time.process_time() - worked
    seconds = [ended - start for name, start, ended in meter.events if name == "step"]
    generated = sum(len(found.segments[index]) for index in found.generated())
    return loaded | {
        "steps": steps,
        "step_seconds": seconds,
        "forwards": meter.forwards,
        "seconds_per_forward": sum(seconds) / meter.forwards,
        "processor_seconds_per_forward": worked / meter.forwards,
        "part_seconds": {
            name: meter.seconds[name] for name in ("embed", "backbone", "head", "draw", "flow")
        },
        "positions": sum(len(segment) for segment in sequence.segments),
        "generated": generated,
    }


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
        return quantise(folder, stage, {"int8": "int8-dynamic", "int4": "int4-rtn"}[stage], tell)
    if stage == "plan":
        return plan(done, config)
    return generate(folder, stage, steps if stage == "text" else 1, tell)


def child(given: argparse.Namespace, config: ModelConfig) -> None:
    """One stage: progress, then the result, as lines of JSON."""

    def tell(what: str, share: float) -> None:
        print(json.dumps({"what": what, "share": share}), flush=True)

    began = time.perf_counter()
    result = run_stage(
        given.stage, given.folder, config, given.text_steps, load(given.folder), tell
    )
    times = os.times()
    measured = {
        "peak_bytes": status("VmHWM"),
        "seconds": time.perf_counter() - began,
        "processor_seconds": times.user + times.system,
    }
    print(json.dumps({"result": result | measured}), flush=True)


def load(folder: Path) -> dict[str, Result]:
    """Results of the stages that are done."""
    path = folder / "done.json"
    found: dict[str, Result] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def available_memory() -> int:
    """Bytes that programs may still take without swapping."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def check_room(folder: Path, config: ModelConfig, done: dict[str, Result]) -> None:
    """UsageError, before anything is written: the disk or the memory is too small for what is left
    to do."""
    sizes = {
        stage: sum(config_weights(config, precision).values())
        for stage, precision in BUNDLES.items()
    }  # type: ignore[arg-type]
    larger = max((sizes[stage] for stage in ("int8", "int4") if stage not in done), default=0)
    needed = (0 if "export" in done else sizes["export"]) + larger + SLACK if larger else 0
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; free some or"
            " choose another --folder"
        )
    available = available_memory()
    wanted = int(1.5 * sizes["int4"])
    if available < wanted:
        raise UsageError(
            f"{available / 1e9:.1f} GB of memory are free, {wanted / 1e9:.1f} GB are needed; end"
            " other programs first"
        )


def run_stages(given: argparse.Namespace, config: ModelConfig) -> dict[str, Result]:
    """Every stage that is not done, in order; float16 and INT8 go when nothing needs them any
    more."""
    done = load(given.folder)
    check_room(given.folder, config, done)
    console = Console(progress_form="auto" if sys.stderr.isatty() else "plain")
    with console.progress("nextomni-7b") as advance:
        for stage in STAGES:
            if stage not in done:
                before = sum(share for name, share in STAGES.items() if name in done)
                done[stage] = supervised(
                    given,
                    stage,
                    lambda what, share, b=before, s=stage: advance(
                        round(1000 * (b + STAGES[s] * share)), 1000, what
                    ),
                )
                with atomic_write(given.folder / "done.json", "w") as file:
                    json.dump(done, file)
            remove = {"int8": "int8", "int4": "float16"}.get(stage)
            if remove and not given.keep:
                shutil.rmtree(given.folder / remove, ignore_errors=True)
        advance(1000, 1000, "done")
    return done


def supervised(given: argparse.Namespace, stage: str, tell: Tell) -> Result:
    """A stage in a process of its own. NextOmniError: it failed; what it said is on stderr."""
    command = [
        sys.executable, str(Path(__file__)), "--folder", str(given.folder), "--config",
        given.config, "--stage", stage, "--text-steps", str(given.text_steps),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # it was asked for
            for line in process.stdout:
                said = json.loads(line)
                if "result" in said:
                    return dict(said["result"])
                tell(f"{stage}: {said['what']}", said["share"])
        except KeyboardInterrupt:
            process.terminate()
            raise
    raise NextOmniError(
        f"stage {stage} failed with exit code {process.returncode}; run the same command to go on"
    )


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
    for stage, limit in LIMITS.items():
        if not done[stage]["peak_bytes"] <= limit:
            raise NextOmniError(
                f"stage {stage} took {done[stage]['peak_bytes'] / 1e9:.2f} GB, at most"
                f" {limit / 1e9:.0f} are promised"
            )


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
        child(given, config)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    done = run_stages(given, config)
    print(table(done))
    versions = {
        name: metadata.version(name) for name in ("torch", "onnx-ir", "onnxruntime", "numpy")
    }
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
    }
    if given.output:
        with atomic_write(given.output, "w") as file:
            file.write(json.dumps(machine | {"stages": done}, indent=1) + "\n")
    check_limits(done)


if __name__ == "__main__":
    try:
        main()
    except NextOmniError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
