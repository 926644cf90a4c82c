"""What one process holds of a model in training, by the number of processes that share it: `python
benchmarks/shares.py [--layers N] [-o FILE]`.

Qwen2.5-0.5B's backbone (24 layers, 896 wide) with random weights, small tables and heads, on CPUs
over gloo. Each process takes two steps of one text of 64 tokens in float32 with AdamW and a running
average: 20 bytes for a parameter. The numbers are bytes that belong to the process alone after the
second step, and at its peak, from Linux; and the loss of each step, which is the mean over the
processes' batches. All processes take the same batches together, four a step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import export_memory
import latency

from nextomni_edge.files import atomic_write

PROCESSES: Final = (1, 2, 4)
BATCHES: Final = 4  # of a step, over all processes
STEPS: Final = 2


def private_bytes(key: str) -> int:
    """An entry of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def work(model_path: Path, out: Path, shard: bool) -> None:
    """One process: train, and leave what it held and its losses in `out`."""
    import numpy as np
    import torch
    from torch import Tensor, nn

    from nextomni_edge.models import native
    from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
    from nextomni_edge.tokens.text import TextTokenizer
    from nextomni_edge.train.loop import Metrics, Trainer, TrainOptions
    from nextomni_edge.train.objective import Draw, Objective

    torch.set_num_threads(1)
    model, tokenizer = native.load(model_path).train(), TextTokenizer(model_path / "tokenizer.json")
    objective = Objective(model, tokenizer.special, condition_dropout=0.0)
    groups: list[dict[str, object]] = [{"params": list(objective.parameters()), "lr": 1e-4}]
    asked = conversation(tokenizer, [Turn("user", (Part("text", "a red rocket"),))], "text")
    sequence = respond(asked, "text", model.config, tokenizer)
    losses: list[float] = []

    def loss_of(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        found: tuple[Tensor, Metrics] = module(
            Draw("text", lambda image, audio: ([sequence],)), rng, False
        )
        losses.append(float(found[0].detach()))
        return found

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    options = TrainOptions(
        steps=STEPS, warm_up=1, decay=0.0, accumulate=BATCHES // processes, shard=shard,
        recompute=shard,
    )  # fmt: skip
    trainer = Trainer(objective, groups, options, out / "run")
    while trainer.step < STEPS:
        trainer.advance(loss_of)
    rank = trainer.accelerator.process_index
    found = {
        "losses": losses, "held": private_bytes("RssAnon"), "peak": private_bytes("VmHWM"),
        "parameters": sum(math.prod(own.shape) for own in objective.parameters()),
    }  # fmt: skip
    (out / f"{rank}.json").write_text(json.dumps(found))
    trainer.accelerator.wait_for_everyone()


def measured(model: Path, processes: int) -> dict[str, Any]:
    """The largest process, and the mean loss of every step."""
    launched = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *(launched if processes > 1 else []), __file__, "--worker"]
        # freed tensors go back to the system, or the whole model that was read would still count
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
        subprocess.run([*command, str(model), folder], check=True, env=environment)
        found = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
    each = BATCHES // processes
    losses = [
        sum(sum(one["losses"][step * each : (step + 1) * each]) for one in found) / BATCHES
        for step in range(STEPS)
    ]
    largest = {key: max(one[key] for one in found) for key in ("held", "peak")}
    whole = {"processes": processes, "losses": losses, "parameters": found[0]["parameters"]}
    return whole | largest


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| processes | bytes held by one | of one process | at its peak | losses |",
        "|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        losses = ", ".join(f"{loss:.6f}" for loss in row["losses"])
        lines.append(
            f"| {row['processes']} | {row['held'] / 1e9:.2f} GB |"
            f" {row['held'] / rows[0]['held']:.2f} | {row['peak'] / 1e9:.2f} GB | {losses} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--worker", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    if given.worker:
        work(*given.worker, shard="WORLD_SIZE" in os.environ)
        return
    settings = latency.settings()
    settings["backbone"]["layers"] = given.layers
    with tempfile.TemporaryDirectory() as folder:
        export_memory.make_model(Path(folder) / "model", settings)
        rows = [measured(Path(folder) / "model", processes) for processes in PROCESSES]
    with atomic_write(given.out, "w") as file:
        file.write(json.dumps({"layers": given.layers, "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
