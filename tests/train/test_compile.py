"""`TrainOptions.compile`: compiled layers train what the plain ones do."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from nextomni_edge.models import native
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.loop import Metrics, Trainer, TrainOptions
from nextomni_edge.train.objective import Draw, Objective
from tests.tiny import tiny_model
from tests.train.sequences import sequences

STEPS = 4


def losses(path: Path, out: Path, compiled: bool, recompute: bool) -> list[float]:
    torch.manual_seed(0)
    model, tokenizer = native.load(path).train(), TextTokenizer(path / "tokenizer.json")
    objective = Objective(model, tokenizer.special, condition_dropout=0.0)
    groups: list[dict[str, object]] = [{"params": list(objective.parameters()), "lr": 1e-3}]
    options = TrainOptions(steps=STEPS, warm_up=1, compile=compiled, recompute=recompute)
    trainer, found = Trainer(objective, groups, options, out), []

    def loss_of(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        drawn = sequences(model, tokenizer, batch)[batch % 3]
        loss, metrics = module(Draw("task", lambda image, audio: ([drawn],)), rng, False)
        found.append(float(loss.detach()))
        return loss, metrics

    for _ in range(STEPS):
        trainer.advance(loss_of)
    return found


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",  # traces as the compiler does, and needs none
        pytest.param("inductor", marks=pytest.mark.slow),
    ],
)
def test_compiled_layers_have_the_losses_of_plain_ones(
    backend: str, recompute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 1e-4 of each loss: the compiler fuses sums, and each step carries it on."""
    if backend == "inductor" and shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("not installed: a C++ compiler; inductor was not tried")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    path = tiny_model(tmp_path / "model")
    plain = losses(path, tmp_path / "plain", False, recompute)
    torch.compiler.reset()
    counters.clear()
    compiled = losses(path, tmp_path / "compiled", True, recompute)
    assert counters["stats"]["unique_graphs"] > 0
    assert compiled == pytest.approx(plain, rel=1e-4) and len({*plain}) == STEPS
