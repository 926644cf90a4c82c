"""What a stage is said to need, held against what was measured and counted otherwise."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nextomni_edge.config import FlowConfig, ModelConfig, PathConfig, named_config
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.measure import DEVICES, Step, config_weights, estimate
from nextomni_edge.models import native
from nextomni_edge.models.omni import OmniModel
from nextomni_edge.tokens.chat import Part, Turn, conversation, part_segments
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer
from nextomni_edge.train.batch import collate
from nextomni_edge.train.flow_loss import flow_loss
from nextomni_edge.train.planning import Planner, StagePlan
from nextomni_edge.train.shares import forget_activations
from nextomni_edge.train.stages import Source, Stage
from tests.tiny import tiny_config, tiny_model

ROOT = Path(__file__).parents[2]


def stage(answer: str = "text", given: tuple[str, ...] = (), **fields: object) -> Stage:
    settings: dict[str, object] = {"steps": 10, "sequences": 8, "batch": 2, "context": 64}
    return Stage("one", mixture=(Source("one", 1, answer, given),), **(settings | fields))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def measured() -> dict[str, object]:
    found: dict[str, object] = json.loads((ROOT / "benchmarks" / "shares.json").read_text())
    return found


@pytest.fixture
def half_a_billion(monkeypatch: pytest.MonkeyPatch, measured: dict[str, object]) -> StagePlan:
    """The plan of what benchmarks/shares.py trained."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    settings = importlib.import_module("latency").settings()
    settings["backbone"]["layers"] = measured["layers"]
    trained = stage(sequences=4, batch=1, shard=True, recompute=True)
    return Planner(ModelConfig.from_json(settings)).plan(trained)


def test_a_model_in_shares_holds_what_was_measured(
    half_a_billion: StagePlan, measured: dict[str, object]
) -> None:
    """The measured bytes hold Python and its libraries too, so their differences are compared:
    within 6 %. What is there at the peak, and not between two steps, within 20 %."""
    rows = measured["rows"]
    assert isinstance(rows, list)
    assert half_a_billion.counts.parameters == rows[0]["parameters"]
    planned = {row["processes"]: half_a_billion.memory(row["processes"]) for row in rows}
    for more, fewer in itertools.pairwise(rows):
        fell = planned[more["processes"]].state - planned[fewer["processes"]].state
        assert fell == pytest.approx(more["held"] - fewer["held"], rel=0.06)
    for row in rows[:1]:
        memory = planned[row["processes"]]
        above = memory.total(recompute=False) - memory.state
        assert above == pytest.approx(row["peak"] - row["held"], rel=0.2)


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_those_of_a_real_forward(tmp_path: Path, recompute: bool) -> None:
    """Three layers, of which the plan traces two. Within 5 %: masks of the batch are left out."""
    config = tiny_config()
    backbone = dataclasses.replace(config.backbone, layers=3, hidden_size=96, mlp_size=192)
    config = dataclasses.replace(config, backbone=backbone)
    path = tiny_model(tmp_path / "model", config)
    model, tokenizer = native.load(path), TextTokenizer(path / "tokenizer.json")
    asked = conversation(tokenizer, [Turn("user", (Part("text", "draw a red rocket"),))], "image")
    image = Part("image", np.zeros((model.config.image.positions, 3), np.int64))
    sequence = Sequence((*asked, *part_segments(tokenizer, image, False)))
    batch = collate([sequence] * 4, model.config)
    if recompute:
        forget_activations(model)
    found = saved(model, lambda: flow_loss(model, batch, batch))
    trained = stage("image", batch=4, context=sequence.length)
    planned = Planner(model.config)._pass(trained, trained.mixture[0], recompute)[0]
    assert planned.saved == pytest.approx(found, rel=0.05)


def saved(model: OmniModel, forward: object) -> int:
    own = {id(each.untyped_storage()) for each in model.parameters()}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own:
            found[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        assert callable(forward)
        loss = forward()
    assert loss
    return sum(storage.nbytes() for storage in found.values())


@pytest.mark.parametrize("answer", ["text", "image"])
def test_operations_are_those_that_bench_plan_counts(answer: str) -> None:
    """`bench --plan` counts them from the config's sizes; the projector's come on top here."""
    config, trained = tiny_config("parallel"), stage(answer)
    given, generated = trained.mixture[0].rows(config, 64)
    step = Step("text" if answer == "text" else "image", given, generated)
    counted = estimate(
        config, config_weights(config, "float32"), "float32", step, DEVICES["h100"]
    ).operations
    planned = Planner(config)._pass(trained, trained.mixture[0], False)[0].operations
    projector = 0 if answer == "text" else 2 * 2 * generated * (48 * 12 + 48 * 48)
    assert planned == 2 * counted + projector


def test_the_papers_stage_on_many_devices() -> None:
    """Eight devices of 80 GB hold it in shares, with its activations computed again."""
    trained = stage(
        context=4096, batch=1, sequences=64, precision="bf16", shard=True, recompute=True
    )
    found = Planner(named_config("nextomni-7b")).plan(trained)
    one, eight, many = (found.memory(processes) for processes in (1, 8, 64))
    assert one.total(True) > 80e9 > eight.total(True) > many.total(True) > 20e9
    assert eight.state == pytest.approx(one.state / 8)
    assert eight.activations > 4 * eight.activations_recomputed
    # two for each weight and row forward, twice that backward, and once more for the layers
    least = 8 * 28 * found.counts.layer * trained.tokens
    assert least < found.operations < 1.5 * least


def test_what_is_frozen_has_no_gradient_and_no_moments() -> None:
    config = tiny_config()
    whole, frozen = (
        Planner(config).plan(stage(slower=slower)) for slower in ({}, {"backbone": 0.0})
    )
    layers = 2 * whole.counts.layer
    assert frozen.counts.trained == whole.counts.trained - layers - config.backbone.hidden_size
    assert frozen.memory(1).gradients < whole.memory(1).gradients
    assert frozen.memory(1).average == whole.memory(1).average
    assert frozen.operations < whole.operations


def test_reconstruction_and_warm_ups_need_their_codecs() -> None:
    planner = Planner(tiny_config())
    plain = planner.plan(stage("image"))
    rebuilt = planner.plan(stage("image", reconstruct_every=2))
    warm_up = planner.plan(stage("image", trains="image", context=None))
    assert rebuilt.kept > plain.kept and rebuilt.operations > plain.operations
    assert 0 < warm_up.counts.parameters < plain.counts.parameters
    distance = planner.plan(stage("image", trains="image", context=None, perceptual=1.0))
    assert distance.counts.parameters > warm_up.counts.parameters
    assert distance.counts.trained == warm_up.counts.trained and distance.kept > warm_up.kept
    assert planner.plan(stage(given=("image",))).operations > planner.plan(stage()).operations


def test_media_that_fill_the_context_are_refused() -> None:
    with pytest.raises(InputError, match=r"'one': its media are \d+ rows, and the context is 8"):
        Planner(tiny_config()).plan(stage("audio", ("image",), context=8))


def test_only_the_native_network_is_planned() -> None:
    masked = PathConfig(kind="mixture", mask=3, commit=CommitConfig("even", block=4))
    config = dataclasses.replace(
        tiny_config(),
        network="unified",
        modalities=("text",),
        flow=FlowConfig(text=masked, image=masked, audio=masked),
    )
    with pytest.raises(UsageError, match="stages are planned of network 'native', found 'unified'"):
        Planner(config)
