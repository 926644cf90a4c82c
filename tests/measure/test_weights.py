"""A plan's weights are the model's, value for value, and in a quantised bundle byte for byte."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import INLINE
from nextomni_edge.calibration import quantize
from nextomni_edge.calibration.recipes.config import recipe
from nextomni_edge.config import ModelConfig, named_config
from nextomni_edge.errors import UsageError
from nextomni_edge.measure import bundle_weights, config_weights
from nextomni_edge.measure.weights import Precision, Weight, component_weights
from nextomni_edge.models.components import components
from nextomni_edge.models.networks import build
from tests.tiny import tiny_config

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
CONFIGS = {
    "autoregressive": tiny_config(),
    "parallel": tiny_config("parallel"),
    "clip": dataclasses.replace(
        tiny_config(),
        image=dataclasses.replace(
            tiny_config().image, encoder=named_config("nextomni-7b").image.encoder
        ),
    ),
    "nextomni-7b": named_config("nextomni-7b"),
    "finer": dataclasses.replace(
        tiny_config(), image=dataclasses.replace(tiny_config().image, drawn=48)
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_components_shapes_are_the_models(config: ModelConfig) -> None:
    with torch.device("meta"):
        found = components(build(config))
    planned = component_weights(config)
    for name, component in found.items():
        expected = sorted(tuple(tensor.shape) for tensor in component.module.state_dict().values())
        assert sorted(weight.shape for weight in planned[name]) == expected, name
    assert planned.keys() == found.keys()


def test_the_papers_shape_has_the_size_that_is_published() -> None:
    weights = component_weights(named_config("nextomni-7b"))
    count = {name: sum(weight.values for weight in found) for name, found in weights.items()}
    # Qwen2.5-7B's own number
    assert count["backbone"] + count["embed_text"] + count["text_head"] == 7_615_616_512
    # METHOD 2: about 128 M together
    assert 120e6 < count["image_head"] + count["audio_head"] < 136e6


@pytest.mark.parametrize(("precision", "name"), [("int8", "int8-dynamic"), ("int4", "int4-rtn")])
def test_planned_integers_take_the_bytes_that_the_quantiser_wrote(
    precision: Precision, name: str, tiny_bundle: Path, made_once: MadeOnce
) -> None:
    made = made_once(
        f"quantised-{precision}",
        lambda out: quantize(tiny_bundle, out, recipe(name), overwrite=out.exists()),
    )
    bundle = Bundle.open(made)
    for component, weights in component_weights(bundle.config).items():
        large = [
            weight for weight in weights if weight.kind != "other" and weight.values * 4 >= INLINE
        ]
        written = bundle.manifest.components[component].quantisation.values()
        assert sum(weight.nbytes(precision, component) for weight in large) == sum(
            decision.bytes for decision in written
        )
    assert bundle_weights(bundle)[1] == precision


def test_a_bundle_is_weighed_by_its_files(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    sizes, precision = bundle_weights(bundle)
    planned = config_weights(bundle.config, "float32")
    inline = {
        name: sum(4 * w.values for w in found if w.values * 4 < INLINE)
        for name, found in component_weights(bundle.config).items()
    }
    assert precision == "float32" and sizes["text_head"] == planned["text_head"]
    # graphs hold constants beside the weights
    assert all(sizes[name] >= planned[name] - inline[name] for name in sizes)


def test_what_no_block_fits_stays_at_int8() -> None:
    assert Weight("table", (10, 72)).nbytes("int4", "embed_text") == 720 + 40
    assert Weight("table", (10, 80)).nbytes("int4", "embed_text") == 400 + 50 * 2
    assert Weight("matmul", (10, 72)).nbytes("int4", "backbone") == 10 * 3 * 18
    assert (
        Weight("conv", (8, 3, 5, 5)).nbytes("int4", "image_decoder")
        == math.prod((8, 3, 5, 5)) + 8 * 4
    )
    assert Weight("matmul", (64, 64)).nbytes("int4", "image_encoder") == 64 * 64 + 64 * 4


def test_another_network_is_refused() -> None:
    config = dataclasses.replace(tiny_config(), network="native")
    object.__setattr__(config, "network", "fudoki")
    with pytest.raises(UsageError, match="a plan is made of network 'native', found 'fudoki'"):
        component_weights(config)
