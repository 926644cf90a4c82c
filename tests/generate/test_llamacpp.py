"""Generations over llama.cpp, which keeps keys and values itself: the same tokens, where it can
serve a policy at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is compiled by `make test-slow` alone")

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.tokens.chat import Kind
from tests.generate.requests import KINDS, ask, options, traced
from tests.tiny import with_prefix_attention


@pytest.fixture(scope="module")
def model(tiny_gguf_bundle: Path) -> EdgeModel:
    return EdgeModel.from_bundle(Bundle.open(tiny_gguf_bundle))


@pytest.fixture(scope="module")
def other(tiny_bundle: Path) -> EdgeModel:
    return EdgeModel.from_bundle(Bundle.open(tiny_bundle))


@pytest.mark.parametrize("settings", [{}, {"refresh_prompt": 3}, {"cache_drift": 1.5}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_prompt_gives_onnx_runtimes_tokens(
    model: EdgeModel, other: EdgeModel, kind: Kind, settings: dict[str, float]
) -> None:
    given = options(model, kind, kv_cache="prefix", guidance=1.0, **settings)
    expected, theirs = traced(other, ask(other, kind), given)
    found, ours = traced(model, ask(model, kind), given)
    for step, reference in zip(found, expected, strict=True):
        for own, its in zip(step, reference, strict=True):
            np.testing.assert_array_equal(own, its)
    assert ours.rows == theirs.rows and ours.rows_reused > 0 and ours.peak_state_bytes > 0


@pytest.mark.parametrize("cache", ["adaptive", "revised"])
def test_a_policy_that_computes_rows_between_others_is_refused(
    model: EdgeModel, cache: str
) -> None:
    with pytest.raises(
        UsageError,
        match=(
            rf"^kv_cache '{cache}' computes rows with kept ones behind them, .*: take 'prefix' or"
            r" 'none'$"
        ),
    ):
        generate(model, ask(model, "image"), options(model, "image", kv_cache=cache))


@pytest.mark.parametrize("cache", ["none", "prefix"])
@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_one_call_have_the_tokens_of_each_alone(
    model: EdgeModel, kind: Kind, cache: str
) -> None:
    given = options(model, kind, kv_cache=cache, guidance=1.0, padding=0.9)
    asked = [
        ask(model, kind, prompt) for prompt in ("draw a red rocket", "draw a red rocket", "a cat")
    ]
    together = generate_batch(model, asked, given, [1, 2, 3])
    for seed, (found, sequence) in enumerate(zip(together, asked, strict=True), 1):
        alone = generate(model, sequence, given.changed(seed=seed, batch_guidance=False))
        for index in alone.generated():
            np.testing.assert_array_equal(
                found.segments[index].tokens, alone.segments[index].tokens
            )


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "computed again"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_sees_itself_alone_is_computed_once(
    tmp_path: Path, tiny_gguf_bundle: Path, tiny_checkpoint: Path, kind: Kind, keep: bool
) -> None:
    """Prefix attention: of a bundle only the config tells it from full attention."""
    model, bundle = (
        with_prefix_attention(source, tmp_path / source.name)
        for source in (tiny_checkpoint, tiny_gguf_bundle)
    )
    reference, device = EdgeModel.from_checkpoint(model), EdgeModel.from_bundle(Bundle.open(bundle))
    given, meter = options(device, kind).changed(keep_prompt=keep), Meter()
    expected, _ = traced(reference, ask(reference, kind), given)
    found, meter = traced(device, ask(device, kind), given)
    for ours, theirs in zip(found, expected, strict=True):
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(own, other)
    assert (meter.rows_reused > 0) == keep
