"""What llama.cpp's own keys and values save: `python benchmarks/llamacpp_state.py GGUF ONNX [-o
FILE]`, a table and JSON.

GGUF and ONNX are bundles of one model in float32. Generations with nothing kept and with the
prompt's keys and values kept, both guidance branches in one call and one after another;
interleaved, from the same seeds. With the prompt kept, ONNX Runtime takes the same steps: the
tokens must be its, or nothing is written. Seconds are the processor's: other processes may share
the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nextomni_edge.bundle import Bundle
from nextomni_edge.files import atomic_write
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.measure.timing import Configuration, equal_tokens, measure
from nextomni_edge.tasks import PLANS, Plan

TASKS = ("image-to-text", "text-to-image", "text-to-audio", "text-to-video")


def compared(gguf: EdgeModel, onnx: EdgeModel, plan: Plan, repeats: int) -> dict[str, Any]:
    """Processor seconds, forwards and positions of each way. SystemExit: tokens that must be the
    same are not."""
    plain = GenerationOptions.defaults(gguf.config, plan.answer)
    kept, sequence = plain.changed(kv_cache="prefix"), plan.task(gguf).sequence
    ways = {"none": (gguf, plain), "prefix": (gguf, kept), "prefix, ONNX Runtime": (onnx, kept)}
    if plain.guidance:
        ways["none, branches apart"] = (gguf, plain.changed(batch_guidance=False))
    found = {
        measurement.configuration.name: measurement
        for measurement in measure(
            [Configuration(name, *(way[0], sequence, way[1]), 0.0) for name, way in ways.items()],
            repeats,
        )
    }
    for name, other in (("prefix", "prefix, ONNX Runtime"), ("none", "none, branches apart")):
        if other in found and equal_tokens(found[name], found[other]) != 1.0:
            raise SystemExit(f"{plan.name}: {name} gives other tokens than {other}")
    return {
        name: {
            "processor_seconds": measurement.median("processor_seconds"),
            "runs": [timing.processor_seconds for timing in measurement.timings],
            **{
                count: measurement.timings[-1].counts[count]
                for count in ("forwards", "rows", "rows_reused", "peak_state_bytes")
            },
        }
        for name, measurement in found.items()
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line for each task: positions computed with the prompt kept, and how many times as fast."""
    lines = [
        (
            "| task | positions computed | prompt kept, times as fast | branches in one call, times"
            " as fast |"
        ),
        "|---|---:|---:|---:|",
    ]
    for task, found in results.items():
        none, prefix, apart = found["none"], found["prefix"], found.get("none, branches apart")
        share = prefix["rows"] / (prefix["rows"] + prefix["rows_reused"])
        together = f"{apart['processor_seconds'] / none['processor_seconds']:.2f}×" if apart else ""
        lines.append(
            f"| {task} | {share:.0%} |"
            f" {none['processor_seconds'] / prefix['processor_seconds']:.2f}× | {together} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every task and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("gguf", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    gguf, onnx = (
        EdgeModel.from_bundle(Bundle.open(path)) for path in (arguments.gguf, arguments.onnx)
    )
    results = {
        plan.name: compared(gguf, onnx, plan, arguments.repeats)
        for plan in PLANS
        if plan.name in TASKS
    }
    with atomic_write(arguments.out, "w") as file:
        file.write(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
