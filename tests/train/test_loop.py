"""The loop: exact resume, the schedule, and a loss that is not finite."""

import dataclasses
import math
import os
import random
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nextomni_edge.errors import InputError
from nextomni_edge.train.loop import Metrics, Trainer, TrainOptions
from tests.killed import SERVER

OPTIONS = TrainOptions(steps=12, rate=1e-2, warm_up=3)


def trainer(out: Path, options: TrainOptions = OPTIONS, width: int = 4) -> Trainer:
    torch.manual_seed(0)
    module = nn.Linear(width, 1)
    return Trainer(
        module, [{"params": list(module.parameters()), "lr": options.rate}], options, out
    )


def train(subject: Trainer, until: int | None = None) -> None:
    def loss(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        x = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32))
        value = (module(x) - x.sum(dim=1, keepdim=True)).pow(2).mean()
        return value, {"loss": float(value.detach())}

    if until is None:
        subject.run(loss, lambda step, metrics: None)
    else:
        while subject.step < until:
            subject.advance(loss)
        subject.save()


def test_a_run_in_two_pieces_is_the_run_in_one_piece_bit_for_bit(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    train(whole)
    train(trainer(tmp_path / "pieces"), until=5)
    second = trainer(tmp_path / "pieces")
    assert second.resume() and second.step == 5
    train(second)
    for name, parameter in whole.parameters.items():
        assert torch.equal(parameter, second.parameters[name]) and torch.equal(
            whole.average[name], second.average[name]
        )


def test_nothing_to_resume_is_not_an_error(tmp_path: Path) -> None:
    assert not trainer(tmp_path / "new").resume()


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    train(trainer(tmp_path), until=2)
    with pytest.raises(
        InputError,
        match="tensor weight is missing or of another shape; this state is of another model",
    ):
        trainer(tmp_path, width=5).resume()


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step(tmp_path: Path) -> None:
    subject = trainer(tmp_path)
    with pytest.raises(InputError, match="training step 0: the loss is nan"):
        subject.advance(lambda module, batch, rng: (torch.tensor(math.nan, requires_grad=True), {}))


def test_the_rate_rises_holds_and_falls_to_nothing() -> None:
    options = TrainOptions(steps=1000, warm_up=100, decay=0.2)
    assert options.rate_at(0) == pytest.approx(0.01)
    assert options.rate_at(100) == options.rate_at(800) == 1.0
    assert options.rate_at(900) == pytest.approx(0.5) and options.rate_at(1000) == 0.0


def test_the_budget_in_minutes_ends_a_session_and_keeps_what_was_done(tmp_path: Path) -> None:
    subject = trainer(tmp_path, TrainOptions(steps=10**9, minutes=0.01))
    train(subject)
    again = trainer(tmp_path, TrainOptions(steps=10**9))
    assert again.resume() and again.step == subject.step > 0


def test_an_interrupt_finishes_the_step_and_saves_it(tmp_path: Path) -> None:
    subject = trainer(tmp_path)

    def loss(module: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, Metrics]:
        if batch == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return module(torch.ones(1, 4)).pow(2).mean(), {}

    with pytest.raises(KeyboardInterrupt):
        subject.run(loss, lambda step, metrics: None)
    again = trainer(tmp_path)
    assert again.resume() and again.step == 5


def resume_and_train(out: Path, options: TrainOptions, ready: Event) -> None:
    """In a process of its own: train on from what is there."""
    torch.set_num_threads(1)
    subject = trainer(out, options)
    subject.resume()
    ready.set()
    train(subject)


def test_a_run_killed_at_ten_random_moments_is_the_run_in_one_piece_bit_for_bit(
    tmp_path: Path,
) -> None:
    options, chance = dataclasses.replace(OPTIONS, steps=4000), random.Random(0)
    whole = trainer(tmp_path / "whole", options)
    train(whole)
    steps = []
    for _ in range(10):
        saving = dataclasses.replace(options, save_minutes=0.0)  # after every step
        ready = SERVER.Event()
        process = SERVER.Process(target=resume_and_train, args=(tmp_path / "killed", saving, ready))
        process.start()
        assert ready.wait(120)
        time.sleep(chance.uniform(0.0, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        left = trainer(tmp_path / "killed", options)
        steps.append(left.step if left.resume() else 0)
    assert steps == sorted(steps) and 0 < steps[-1] < options.steps
    last = trainer(tmp_path / "killed", options)
    last.resume()
    train(last)
    for name, parameter in whole.parameters.items():
        assert torch.equal(parameter, last.parameters[name]) and torch.equal(
            whole.average[name], last.average[name]
        )
