"""Prefix attention: what the response is changes nothing of the prompt's states, so that keeping
them changes no token."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextomni_edge.bundle import Bundle
from nextomni_edge.config import ModelConfig
from nextomni_edge.generate.loop import generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import CACHES
from nextomni_edge.models import native
from nextomni_edge.tokens.chat import Kind
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.train.batch import collate, embed
from tests.generate.requests import KINDS, ask, options, traced
from tests.tiny import tiny_config, tiny_model, with_prefix_attention


def prefix_config(**given: Any) -> ModelConfig:
    config = tiny_config(**given)
    return dataclasses.replace(
        config, backbone=dataclasses.replace(config.backbone, attention="prefix")
    )


@pytest.fixture(scope="module", params=[0, 1], ids=["", "shifted"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(
        tmp_path_factory.mktemp("prefix") / "model", prefix_config(logit_shift=request.param)
    )


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> EdgeModel:
    return EdgeModel.from_checkpoint(checkpoint)


def filled(sequence: Sequence, seed: int) -> Sequence:
    rng = np.random.default_rng(seed)
    for index in sequence.generated():
        sequence = sequence.with_tokens(
            index, rng.integers(0, 16, sequence.segments[index].tokens.shape)
        )
    return sequence


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_sees_nothing_of_the_response_in_training_as_in_use(
    model: EdgeModel, checkpoint: Path, kind: Kind
) -> None:
    network, prompt = native.load(checkpoint), ask(model, kind).prompt_length
    asked = [filled(ask(model, kind), seed) for seed in (1, 2)]
    batch = collate([*asked, filled(ask(model, kind, "a cat"), 3)], model.config)
    trained = network.hidden(embed(network, batch), batch.attention, batch.response).numpy()
    np.testing.assert_allclose(trained[0, :prompt], trained[1, :prompt], atol=1e-6)
    assert np.abs(trained[0, prompt:] - trained[1, prompt:]).max() > 1e-2
    used = model.hidden(asked)
    np.testing.assert_allclose(trained[:2, : asked[0].length], used, atol=2e-5)
    np.testing.assert_allclose(
        trained[2, : batch.last[2] + 1],
        model.hidden([filled(ask(model, kind, "a cat"), 3)])[0],
        atol=2e-5,
    )


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with all others"])
@pytest.mark.parametrize("stepper", ["euler", "corrected"])
@pytest.mark.parametrize("kind", KINDS)
def test_keeping_the_prompt_changes_no_token(
    model: EdgeModel, kind: Kind, stepper: str, others: bool
) -> None:
    given = options(model, kind, stepper=stepper, guidance=1.0)
    given = given if others else given.plain()
    apart, meter = traced(model, ask(model, kind), given.changed(keep_prompt=False))
    kept, fewer = traced(model, ask(model, kind), given.changed(keep_prompt=True))
    for found, expected in zip(kept, apart, strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert meter.rows_reused == 0
    assert fewer.rows_reused == (fewer.forwards - 1) * ask(model, kind).prompt_length > 0
    assert fewer.forwards == meter.forwards


@pytest.mark.parametrize(
    ("kind", "cache"),
    [
        pytest.param(
            kind, cache, marks=[pytest.mark.slow] * (kind != "image" and cache != "prefix")
        )
        for kind in KINDS
        for cache in CACHES
    ],
)
def test_a_batch_of_different_lengths_is_its_requests_one_by_one(
    model: EdgeModel, kind: Kind, cache: str
) -> None:
    given = options(model, kind, kv_cache=cache, guidance=1.0, padding=0.9)
    asked = [
        ask(model, kind, prompt)
        for prompt in ("draw a red rocket", "a cat", "a small green tree spinning")
    ]
    together = generate_batch(model, asked, given, [1, 2, 3])
    for seed, (found, sequence) in enumerate(zip(together, asked, strict=True), 1):
        (alone,) = generate_batch(model, [sequence], given, [seed])
        for index in alone.generated():
            np.testing.assert_array_equal(
                found.segments[index].tokens, alone.segments[index].tokens
            )


def test_only_a_prompt_that_sees_nothing_is_kept_unasked(tiny_checkpoint: Path) -> None:
    model = EdgeModel.from_checkpoint(tiny_checkpoint)
    _, meter = traced(model, ask(model, "image"), options(model, "image"))
    assert meter.rows_reused == meter.peak_state_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_graphs_serve_both_kinds_of_attention(
    tmp_path: Path, tiny_bundle: Path, tiny_checkpoint: Path, kind: Kind
) -> None:
    """A prompt that sees itself alone is a call of its own: of the bundle only the config tells the
    two models apart."""
    model, bundle = (
        with_prefix_attention(source, tmp_path / source.name)
        for source in (tiny_checkpoint, tiny_bundle)
    )
    reference, device = EdgeModel.from_checkpoint(model), EdgeModel.from_bundle(Bundle.open(bundle))
    given, meter = options(device, kind), Meter()
    expected, _ = traced(reference, ask(reference, kind), given)
    found, meter = traced(device, ask(device, kind), given)
    for ours, theirs in zip(found, expected, strict=True):
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(own, other)
    assert meter.rows_reused > 0


def test_the_switch_is_one_of_the_exact_shortcuts() -> None:
    assert GenerationOptions().shortcuts.keep_prompt
    assert not GenerationOptions().plain().shortcuts.keep_prompt
