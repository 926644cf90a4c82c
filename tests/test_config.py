"""Configs are read strictly: each mistake is one line that says where."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import InputError
from nextomni_edge.graphs import graph_specs
from nextomni_edge.spec import Dim, GraphSpec, TensorSpec
from tests.tiny import COMPONENTS, tiny_config


def changed(path: str, value: Any) -> dict[str, Any]:
    data = tiny_config().to_json()
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("backbone.layrs", 2, r"config.backbone: unknown key 'layrs' \(did you mean 'layers'\?\)"),
        ("backbone.layers", "2", "config.backbone.layers: found '2', expected int"),
        ("backbone.layers", True, "config.backbone.layers: found True, expected int"),
        ("backbone.qkv_bias", 1, "config.backbone.qkv_bias: found 1, expected bool"),
        ("flow.text.c", float("nan"), "config.flow.text.c: found nan, expected a finite number"),
        (
            "image.head.kind",
            "serial",
            "config.image.head.kind: found 'serial', expected one of 'parallel', 'autoregressive'",
        ),
        ("logit_shift", 2, "config.logit_shift: found 2, expected one of 0, 1"),
        ("image", [], "config.image: found list, expected an object"),
        (
            "backbone.attention",
            "causal",
            "model config: logit_shift must be 1 with backbone.attention causal",
        ),
        ("image.patch", 7, "model config: image.size must be a multiple of image.patch"),
    ],
)
def test_a_mistake_is_named_with_its_place(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelConfig.from_json(changed(path, value))


def test_a_config_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_config().to_json()))
    assert ModelConfig.load(path) == tiny_config()
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        ModelConfig.load(tmp_path / "none.json")


@pytest.mark.parametrize("config", [ModelConfig(), tiny_config(), tiny_config("parallel", 1)])
def test_every_component_has_a_spec_with_consistent_dims(config: ModelConfig) -> None:
    specs = graph_specs(config)
    assert tuple(specs) == COMPONENTS
    for name, spec in specs.items():
        assert spec.name == name and spec.dims()
        json.dumps(spec.to_json())


def test_a_tensor_that_does_not_fit_says_which_axis() -> None:
    rows = Dim("rows", 1, 4)
    spec = TensorSpec("x", "float32", (rows, 3))
    assert spec.mismatch("float32", (2, 3), {}) is None
    assert spec.mismatch("float64", (2, 3), {}) == "x: dtype float64, expected float32"
    assert spec.mismatch("float32", (2,), {}) == "x: rank 1, expected 2"
    assert spec.mismatch("float32", (2, 4), {}) == "x: axis 1 has size 4, expected 3"
    assert spec.mismatch("float32", (5, 3), {}) == "x: axis 0 (rows) has size 5, expected 1 to 4"
    assert (
        spec.mismatch("float32", (2, 3), {"rows": 3})
        == "x: axis 0 (rows) has size 2, but another tensor has 3"
    )


def test_a_dim_declared_twice_must_agree() -> None:
    one, other = (
        TensorSpec(n, "float32", (Dim("rows", 1, top),)) for n, top in (("a", 4), ("b", 5))
    )
    with pytest.raises(ValueError, match="dimension rows is declared with two ranges"):
        GraphSpec("g", (one,), (other,)).dims()
    assert dataclasses.replace(one, name="c").dims == one.dims


FUDOKI = {
    "network": "fudoki", "modalities": ["text", "image"],
    "text": {"vocabulary_size": 320, "template": "deepseek", "canvas": 100, "null_token": 3},
    "image": {"given": "features", "codebook": {"codebooks": 1}, "vq": {"channels": 32}},
}  # fmt: skip


def test_a_model_without_audio_says_nothing_of_audio() -> None:
    config = ModelConfig.from_json(FUDOKI)
    data = config.to_json()
    assert "audio" not in data and "audio" not in data["flow"] and "decoder" not in data["image"]
    assert ModelConfig.from_json(json.loads(json.dumps(data))) == config
    assert not [name for name in graph_specs(config) if "audio" in name]


def test_a_native_model_s_file_has_no_key_of_another_network() -> None:
    data = tiny_config().to_json()
    assert (
        not {"network", "modalities"} & data.keys()
        and not {"template", "canvas"} & data["text"].keys()
    )
    assert (
        not {"vq", "given", "fitting"} & data["image"].keys()
        and not {"activation", "class_token"} & data["image"]["encoder"].keys()
    )


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (
            "",
            {"modalities": ["text", "image", "audio"]},
            "modalities of network fudoki must be text, image",
        ),
        ("", {"network": "native"}, "modalities of network native must be text, image, audio"),
        ("image", {"vq": None}, "network fudoki must have image.given features and an image.vq"),
        (
            "image",
            {"given": "codes"},
            "network fudoki must have image.given features and an image.vq",
        ),
        (
            "image",
            {"codebook": {"codebooks": 2}},
            "image.codebook.codebooks of network fudoki must be 1",
        ),
        ("image", {"vq": {"channels": 40}}, "widths of whole groups of 32"),
        (
            "image",
            {"vq": {"channels": 32, "multipliers": [1, 2]}},
            "image.vq must have log2 of image.patch and one levels",
        ),
        ("image", {"vq": {"channels": 32, "multipliers": []}}, "image.vq must have log2"),
        (
            "image",
            {"vq": {"channels": 32, "multipliers": [1, 2, 3, 4, -1]}},
            "image.vq must have log2",
        ),
        (
            "image",
            {"vq": {"channels": 32, "multipliers": [1, 1, 1, 1, 1.5]}},
            r"multipliers\[4\]: found 1.5, expected int",
        ),
        ("text", {"canvas": 20_000}, "text.canvas must be at most backbone.max_positions, 16384"),
        ("text", {"null_token": 320}, "text.null_token must be under text.vocabulary_size"),
    ],
)
def test_sections_that_no_network_has_together_are_refused(
    section: str, change: dict[str, Any], message: str
) -> None:
    data = FUDOKI | ({section: {**FUDOKI[section], **change}} if section else change)  # type: ignore[dict-item]
    with pytest.raises(InputError, match=message):
        ModelConfig.from_json(data)
