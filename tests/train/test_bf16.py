"""Training in bfloat16: every modality's loss, and no copy of the weights that is not needed."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nextomni_edge.models import native
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.loop import Metrics, Trainer, TrainOptions
from nextomni_edge.train.objective import Draw, Objective
from tests.tiny import tiny_config, tiny_model
from tests.train.sequences import sequences


@pytest.fixture(autouse=True)
def own_state() -> Iterator[None]:
    """A process has one precision; the tests around this file have another."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model")


class Casts(TorchDispatchMode):
    """The casts of weights of this shape to bfloat16, weakly."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.made = shape, list[weakref.ref[Tensor]]()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and tuple(out.shape) == self.shape:
            self.made.append(weakref.ref(out))
        return out


def train(
    path: Path, precision: Literal["no", "bf16"], recompute: bool, casts: Casts | None = None
) -> tuple[list[float], list[int]]:
    """The losses of a step of each task, the reconstruction's with them; and how many of the
    `casts` are left when each forward ends."""
    AcceleratorState._reset_state(reset_partial_state=True)
    model, tokenizer = native.load(path).train(), TextTokenizer(path / "tokenizer.json")
    config = model.config
    objective = Objective(model, tokenizer.special, condition_dropout=0.0)
    groups: list[dict[str, object]] = [{"params": list(objective.parameters()), "lr": 1e-3}]
    options = TrainOptions(steps=3, warm_up=1, precision=precision, recompute=recompute)
    trainer = Trainer(objective, groups, options, path)
    losses: list[float] = []
    left: list[int] = []

    def loss_of(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        drawn = sequences(model, tokenizer, batch)[batch]
        pixels = rng.uniform(-1, 1, (1, 3, config.image.size, config.image.size))
        clip = (1, 3, config.audio.frames_per_token, config.audio.mels)
        given = (None, rng.normal(size=clip)) if batch == 2 else (pixels, None)
        media = [each if each is None else each.astype(np.float32) for each in given]
        draw = Draw("task", lambda image, audio: ([drawn],), *media)
        with casts or contextlib.nullcontext():
            loss, metrics = module(draw, rng, casts is None)
        losses.append(float(loss.detach()))
        left.append(sum(made() is not None for made in casts.made) if casts else 0)
        return loss, metrics

    for _ in range(1 if casts else 3):
        trainer.advance(loss_of)
    return losses, left


@pytest.mark.parametrize("recompute", [False, True])
def test_every_modality_trains_in_bfloat16(path: Path, recompute: bool) -> None:
    """Within 5 % of float32's losses: three digits in each product."""
    found, _ = train(path, "bf16", recompute)
    assert found == pytest.approx(train(path, "no", recompute)[0], rel=0.05)


def test_layers_that_are_computed_again_keep_no_copy_of_their_weights(path: Path) -> None:
    """autocast's cache would keep each layer's until the forward ends: FSDP2 would gain nothing."""
    backbone = tiny_config().backbone
    shape = (backbone.mlp_size, backbone.hidden_size)
    casts = Casts(shape)
    assert train(path, "bf16", True, casts)[1] == [0]
    assert len(casts.made) == 2 * backbone.layers
    assert train(path, "bf16", False, Casts(shape))[1] == [2 * backbone.layers]
