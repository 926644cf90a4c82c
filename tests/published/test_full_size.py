"""The image tokenizers at their released sizes, 95.5 M and 146.2 M parameters: in PyTorch, and
through the exported graphs on ONNX Runtime and OpenVINO."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nextomni_edge.bundle import Bundle
from nextomni_edge.checkpoints.layouts.image_tokenizers import image_tokenizer
from nextomni_edge.checkpoints.source import Source
from nextomni_edge.config import ImageConfig, ModelConfig
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.formats.strict_json import read_dataclass
from nextomni_edge.formats.tensor_file import read_tensor
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.models.generated import GeneratedCheckpoint
from nextomni_edge.models.grid_codec import GridDecoder, GridEncoder
from nextomni_edge.runtimes.base import Execution
from tests.published.goldens import FOLDER, Array, close, read
from tests.published.models import imported

HIDDEN = 1e-4
PIXELS = 1e-4
# Omni-Diffusion's MAGVIT-v2 has other weights in the same shapes
FAMILIES = {"magvitv2": "mmada", "omnidiffusion": "mmada", "vq_amused": "lumina_dimoo"}
pytestmark = pytest.mark.slow


def recipe(family: str) -> dict[str, Array]:
    """The full-size tokenizer's weights (golden/README.md)."""
    real = read("magvitv2", "real.json") | read(family, "real.json")
    found = {}
    for index, key in enumerate(sorted(real["shapes"])):
        if key in real["kept_buffers"]:
            continue
        shape = real["shapes"][key]
        size = int(np.prod(shape))
        raw = np.random.Philox(key=real["seed"] * 1000 + index).random_raw(size)
        value = ((raw >> np.uint64(40)).astype(np.float64) * 2.0**-24 * 2 - 1).reshape(shape)
        if key.endswith("bias"):
            value *= 0.1
        elif len(shape) == 4:
            value *= np.sqrt(3 / np.prod(shape[1:]))
        elif len(shape) == 1:
            value = 1 + 0.25 * value
        found[key] = value.astype(np.float32)
    return found


@functools.cache
def released(family: str, folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The `image` section, and the tensors by our names, read from files in the released names."""
    save_file(recipe(family), folder / "model.safetensors")
    beside = "vq_amused/vqvae" if family == "vq_amused" else "magvitv2"
    config = json.loads((FOLDER / beside / "config.json").read_text())
    sizes = {"latent_channels": 64, "norm_num_groups": 32}  # of aMUSEd's config.json
    (folder / "config.json").write_text(json.dumps(config | sizes))
    source = Source(FOLDER / "mmada", folder)
    codec = image_tokenizer(source)
    assert codec is not None
    tensors = {
        name: read_tensor(source.tensors[str(theirs)], name).copy()
        for name, (theirs,) in codec.tensors.items()
    }
    return codec.config, tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return functools.cache(tmp_path_factory.mktemp)


def recorded(family: str) -> tuple[dict[str, Array], Array, Array]:
    """All arrays, the codes that were decoded (h,w,1), and the pixels as our encoder sees them."""
    golden = load_file(FOLDER / family / "real.safetensors")
    shown = golden.get("real.dec_codes", golden["real.codes"])
    grid = shown.reshape(golden["real.decoded"].shape[2] // 16, -1, 1).astype(np.int64)
    pixels = golden["real.pixels"]
    return golden, grid, pixels * 2 - 1 if family == "vq_amused" else pixels


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_size_tokenizers(family: str, folder: Callable[[str], Path]) -> None:
    config, tensors = released(family, folder(family))
    image = read_dataclass(ImageConfig, config | {"offset": 0}, "image")
    assert image.vq is not None
    assert image.vq_encoder is not None
    decoder = GridDecoder(image, image.vq)
    codebook = decoder.codebook if family == "vq_amused" else None
    encoder = GridEncoder(image.vq_encoder, codebook, image.codebook.code_dim)
    modules = {"image_encoder": encoder, "image_decoder": decoder}
    for name, value in tensors.items():
        part, _, tensor = name.partition(".")
        modules[part].state_dict()[tensor].copy_(torch.from_numpy(value))
    golden, grid, seen = recorded(family)
    close(encoder.latents(torch.from_numpy(seen)), golden["real.latents"], HIDDEN)
    codes = encoder(torch.from_numpy(seen))
    np.testing.assert_array_equal(codes.flatten().numpy(), golden["real.codes"].flatten())
    close(decoder.decoded(torch.from_numpy(grid[None])), golden["real.decoded"], PIXELS)


class Released(GeneratedCheckpoint):
    """The image tokenizer of the released size on a backbone of random weights, which nothing
    here reads."""

    given: dict[str, Array]

    def values(self, name: str, start: int, count: int) -> Array:
        if name not in self.given:
            return super().values(name, start, count)
        return self.given[name].reshape(-1)[start : start + count].copy()


@pytest.fixture(scope="module")
def bundles(folder: Callable[[str], Path]) -> Callable[[str], Path]:
    @functools.cache
    def bundle(family: str) -> Path:
        image, tensors = released(family, folder(family))
        config = json.loads((imported(FAMILIES[family]) / "config.json").read_text())
        offset, entries = config["image"]["offset"], image["codebook"]["entries"]
        config["image"] |= image
        config["text"]["vocabulary_size"] = offset + entries
        tokenizer = FOLDER / FAMILIES[family] / "tokenizer.json"
        checkpoint = Released(ModelConfig.from_json(config), tokenizer)
        checkpoint.given = tensors
        out = folder(f"{family}-bundle") / "bundle"
        export_bundle(checkpoint, out, ("image_encoder", "image_decoder"), verify="none")
        return out

    return bundle


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_size_tokenizers_through_their_graphs(
    family: str, runtime: str, bundles: Callable[[str], Path]
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the OpenVINO runtime needs openvino")
    model = EdgeModel.from_bundle(Bundle.open(bundles(family)), Execution(runtime))
    golden, grid, seen = recorded(family)
    np.testing.assert_array_equal(model.encode_image(seen).ravel(), golden["real.codes"].ravel())
    expected = golden["real.decoded"][0]
    expected = expected * 2 - 1 if family == "vq_amused" else expected
    found = model.decode_image(grid)
    close(found, np.clip(expected, -1, 1), 2 * PIXELS if family == "vq_amused" else PIXELS)
