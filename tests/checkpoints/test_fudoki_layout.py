"""FUDOKI's layout where parts of it are missing or do not fit: its tower's heads, its image
tokenizer's encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.errors import InputError
from nextomni_edge.models import networks
from nextomni_edge.models.networks import expected_shapes
from tests.models.fudoki_oracle import FOLDER, fudoki_source

pytestmark = pytest.mark.usefixtures("within_bounds")

VQ = "gen_vision_model"


def without(folder: Path, gone: Callable[[str], bool], **changes: Any) -> Path:
    """A source that lacks some tensors."""
    source = fudoki_source(folder / "source", **changes)
    weights = load_file(source / "model.safetensors")
    save_file(
        {name: array for name, array in weights.items() if not gone(name)},
        source / "model.safetensors",
    )
    return source


@pytest.mark.parametrize(
    "prefixes",
    [
        (f"{VQ}.encoder.", f"{VQ}.quant_conv."),
        (f"{VQ}.encoder.conv_blocks.",),
        (f"{VQ}.encoder.conv_blocks.", f"{VQ}.encoder.mid."),
    ],
    ids=["no encoder", "no block", "neither blocks nor a middle"],
)
def test_a_model_without_the_vq_encoder_is_imported(
    tmp_path: Path, prefixes: tuple[str, ...]
) -> None:
    source = without(tmp_path, lambda name: name.startswith(prefixes))
    report = import_model(source, tmp_path / "model", expected_shapes)
    assert report.tensors == 262
    model = networks.load(tmp_path / "model")
    assert model.config.image.vq is not None and not model.config.quantises
    assert not hasattr(model, "image_quantiser")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (f"{VQ}.encoder.mid.1.q.weight", "tensor gen_vision_model.encoder.mid.1.q.weight is"),
        (f"{VQ}.encoder.conv_blocks.0.res.", "encoder.conv_blocks.0.res.0.conv1.weight is missing"),
        (f"{VQ}.decoder.conv_blocks.", "no tensor gen_vision_model.decoder.conv_blocks.0"),
        (f"{VQ}.quant_conv.", "tensor gen_vision_model.quant_conv."),
    ],
)
def test_a_vq_part_that_is_half_there_is_refused(tmp_path: Path, gone: str, said: str) -> None:
    source = without(tmp_path, lambda name: name.startswith(gone))
    with pytest.raises(InputError) as caught:
        import_model(source, tmp_path / "model", expected_shapes)
    assert said in str(caught.value)


def heads(value: object, **more: object) -> dict[str, Any]:
    config = json.loads((FOLDER / "config.json").read_text())["vision_config"]
    return {"vision_config": config | {"params": config["params"] | {"heads": value} | more}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (heads(7), "image.encoder.width, 40, must be a multiple of its heads, 7"),
        (heads(None), "image.encoder.width, 40, must be a multiple of its heads, 16"),
        (heads(0), "heads is '0', expected a positive whole number"),
        (heads("4"), "heads is '4', expected a positive whole number"),
        (
            heads(8, width=1024),
            "heads is 8, but siglip_large_patch16_384 of width 1024 has 16",
        ),
        (heads(None, model_name="unknown"), "heads is 'None', expected a positive whole number"),
    ],
)
def test_heads_that_cannot_be_the_tower_s_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    source = fudoki_source(tmp_path / "source", **changes)
    with pytest.raises(InputError) as caught:
        import_model(source, tmp_path / "model", expected_shapes)
    assert said in str(caught.value)
