"""Two processes (gloo) train what one does: the same batches, the same mean gradient, the same
state after a resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.models import native
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.loop import Trainer, TrainOptions, load_average
from nextomni_edge.train.objective import Objective
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def train(
    model_path: Path,
    out: Path,
    processes: int,
    until: int = 6,
    losses: str = "flow",
    batches: int = 2,
) -> dict[str, torch.Tensor]:
    """The state that it leaves; a step takes so many batches."""
    out.mkdir(exist_ok=True)
    script = [
        "-m",
        "tests.train.distributed_run",
        *map(str, (model_path, out, batches // processes, until, losses)),
    ]
    launched = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        if processes > 1
        else []
    )
    ran = subprocess.run(
        [sys.executable, *launched, *script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    return load_file(out / "state.safetensors")


def test_two_processes_train_what_one_does_with_twice_the_batches(
    model_path: Path, tmp_path: Path
) -> None:
    one = train(model_path, tmp_path / "one", processes=1)
    two = train(model_path, tmp_path / "two", processes=2)
    assert one.keys() == two.keys() and one["optimizer.exp_avg.model.audio_head.bias"].any()
    for name, tensor in one.items():
        torch.testing.assert_close(
            two[name], tensor, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_two_processes_resume_exactly_and_agree_on_the_balance_of_losses(
    model_path: Path, tmp_path: Path
) -> None:
    whole = train(model_path, tmp_path / "whole", processes=2, losses="reconstruct")
    train(model_path, tmp_path / "pieces", processes=2, until=3, losses="reconstruct")
    pieces = train(model_path, tmp_path / "pieces", processes=2, losses="reconstruct")
    for name, tensor in whole.items():
        assert torch.equal(pieces[name], tensor), name
    first, second = (
        json.loads((tmp_path / "whole" / f"balance-{index}.json").read_text()) for index in range(2)
    )
    assert first == second and first["weights"]["ce"] != 1.0


def test_processes_that_share_a_model_train_what_one_does(model_path: Path, tmp_path: Path) -> None:
    """Two begin, four go on where they stopped, and one takes the average. Six steps of Adam move a
    weight by up to 6e-3. Rounding decides the direction where the gradient is about zero."""
    one = train(model_path, tmp_path / "one", processes=1, batches=4)
    train(model_path, tmp_path / "shared", processes=2, until=3, losses="shard", batches=4)
    shared = train(model_path, tmp_path / "shared", processes=4, losses="shard", batches=4)
    assert one.keys() == shared.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            shared[name], tensor, atol=1e-4, rtol=1e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )  # fmt: skip
    tokenizer, state = TextTokenizer(model_path / "tokenizer.json"), tmp_path / "shared"
    objective = Objective(native.load(model_path), tokenizer.special, condition_dropout=0.0)
    load_average(state / "state.safetensors", objective)
    for name, parameter in objective.named_parameters():
        assert torch.equal(parameter, shared[f"average.{name}"]), name
    with pytest.raises(InputError, match=r"it holds no average of 0\.weight"):
        load_average(state / "state.safetensors", nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.slow
def test_losses_in_balance_train_the_same_in_shares(model_path: Path, tmp_path: Path) -> None:
    """GradNorm took a second way through the layers, which ended in a fault of the memory."""
    states, weights = {}, {}
    for form in ("reconstruct later", "reconstruct shard"):
        states[form] = train(model_path, tmp_path / form, processes=2, losses=form, batches=4)
        weights[form] = [
            json.loads((tmp_path / form / f"balance-{index}.json").read_text())["weights"]
            for index in range(2)
        ]
    whole, shared = states.values()
    assert whole.keys() == shared.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(
            shared[name], tensor, atol=1e-4, rtol=1e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )  # fmt: skip
    found = [each for one in weights.values() for each in one]
    assert all(each == pytest.approx(found[0]) for each in found) and found[0]["ce"] != 1.0


def test_one_process_has_nobody_to_share_with(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="one process has nobody to share a model with"):
        Trainer(module, [{"params": list(module.parameters()), "lr": 1.0}],
                TrainOptions(steps=1, shard=True), tmp_path)  # fmt: skip
