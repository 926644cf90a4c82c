"""Trains a tiny model, each batch of one task; a process of its own, or several under
`torch.distributed.run`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nextomni_edge.models import native
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.loop import Metrics, Trainer, TrainOptions
from nextomni_edge.train.objective import Draw, Objective
from tests.train.sequences import sequences


def main(model_path: Path, out: Path, accumulate: int, until: int, form: str) -> None:
    """Train up to step `until`, resuming what is in `out`. `form` is a list of words. "flow":
    nothing else; "reconstruct": with the losses that GradNorm weighs; "shard": in shares and with
    activations computed again; "later": GradNorm's weights move as in shares."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, tokenizer = native.load(model_path).train(), TextTokenizer(model_path / "tokenizer.json")
    objective = Objective(model, tokenizer.special, condition_dropout=0.1)
    groups: list[dict[str, object]] = [{"params": list(objective.parameters()), "lr": 1e-3}]
    shard, reconstruct = "shard" in form, "reconstruct" in form
    if "later" in form:
        Objective.in_shares = True  # type: ignore[assignment]
    options = TrainOptions(steps=6, warm_up=2, accumulate=accumulate, shard=shard, recompute=shard)
    trainer = Trainer(objective, groups, options, out, {"balance": objective.balance})
    trainer.resume()

    def loss_of(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        drawn = sequences(model, tokenizer, batch)[batch % 3]
        pixels = rng.uniform(
            -1, 1, (2, 3, model.config.image.size, model.config.image.size)
        ).astype(np.float32)
        seen = pixels if any(segment.modality == "image" for segment in drawn.segments) else None
        found: tuple[Tensor, Metrics] = module(
            Draw("task", lambda image, audio: ([drawn],), seen), rng, reconstruct
        )
        return found

    while trainer.step < until:
        trainer.advance(loss_of)
    trainer.save()
    trainer.accelerator.wait_for_everyone()
    (out / f"balance-{trainer.accelerator.process_index}.json").write_text(
        json.dumps(objective.balance.state())
    )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        int(sys.argv[3]),
        int(sys.argv[4]),
        sys.argv[5],
    )
