"""Trains a single weight on sharded samples and writes down which samples each batch had; one
process, or several under `torch.distributed.run`."""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nextomni_edge.train.loop import Metrics, Trainer, TrainOptions
from nextomni_edge.train.stream import Shards

STEPS, BATCHES, SIZE = 6, 2, 7


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight - x).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-in-step", type=int)
    given = parser.parse_args()
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    module, shards = Weight(), Shards(given.folder)
    groups: list[dict[str, object]] = [{"params": list(module.parameters()), "lr": 0.1}]
    options = TrainOptions(steps=STEPS, warm_up=1, accumulate=BATCHES // processes)
    trainer = Trainer(module, groups, options, given.out, {"shards": shards})
    trainer.resume()
    given.out.mkdir(exist_ok=True)

    def loss_of(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        if given.kill_in_step == trainer.step + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        numbers = [json.loads(sample["json"])["n"] for sample in shards.batch(batch, SIZE)]
        with (given.out / f"seen-{processes}-{rank}.jsonl").open("a") as file:
            file.write(json.dumps([batch, numbers]) + "\n")
        return module(torch.tensor(numbers, dtype=torch.float32)), {}

    while trainer.step < STEPS:
        trainer.advance(loss_of)
        trainer.save()
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    main()
