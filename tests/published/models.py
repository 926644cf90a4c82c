"""The recorded checkpoints as model directories, imported once."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file, save_file

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.models import networks
from nextomni_edge.models.networks import expected_shapes
from nextomni_edge.models.omnidiffusion import OmniDiffusionModel
from tests.published.goldens import FOLDER

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
TOKENIZERS = {"mmada": "magvitv2", "lumina_dimoo": "vq_amused/vqvae"}


@functools.cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="published-"))


def image_tokenizer(family: str) -> Path | None:
    """A model's image tokenizer; MAGVIT-v2's config.json has no place for its groups, which are 4
    here and 32 in the release."""
    if family not in TOKENIZERS:
        return None
    source = FOLDER / TOKENIZERS[family]
    if family != "mmada":
        return source
    copy = _scratch() / "magvitv2"
    if not copy.exists():
        copy.mkdir()
        shutil.copyfile(source / "pytorch_model.safetensors", copy / "pytorch_model.safetensors")
        config = json.loads((source / "config.json").read_text()) | {"norm_groups": 4}
        (copy / "config.json").write_text(json.dumps(config))
    return copy


@functools.cache
def imported(family: str) -> Path:
    out = _scratch() / family
    source = omnidiffusion() if family == "omnidiffusion" else FOLDER / family
    import_model(source, out, expected_shapes, image_tokenizer=image_tokenizer(family))
    return out


@functools.cache
def omnidiffusion() -> Path:
    """Omni-Diffusion's folder: Dream's set with the tensors of its parts of speech, and the folders
    of its other three parts."""
    out = _scratch() / "omnidiffusion-source"
    out.mkdir()
    shutil.copyfile(FOLDER / "dream" / "tokenizer.json", out / "tokenizer.json")
    config = json.loads((FOLDER / "dream" / "config.json").read_text())
    sides = {"given_image_size": 96, "drawn_image_size": 64}
    (out / "config.json").write_text(json.dumps(config | sides))
    parts = ("dream/model.safetensors", "omnidiffusion/hearing.safetensors")
    tensors = {name: tensor for part in parts for name, tensor in load_file(FOLDER / part).items()}
    save_file(tensors, out / "model.safetensors")
    for part in ("sensevoice", "glm4voice_tokenizer", "glm4voice_decoder", "magvitv2"):
        shutil.copytree(FOLDER / "omnidiffusion" / part, out / part)
    return out


def bundled(family: str, made_once: MakeOnce) -> Path:
    """The verified bundle, exported once for all tests."""
    return made_once(
        f"published-{family}", lambda out: export_bundle(imported(family), out, verify="full")
    )


@functools.cache
def omnidiffusion_model() -> EdgeModel:
    """The imported Omni-Diffusion, run by PyTorch."""
    return EdgeModel.from_checkpoint(imported("omnidiffusion"))


@functools.cache
def omnidiffusion_network() -> OmniDiffusionModel:
    """Its network."""
    found = networks.load(imported("omnidiffusion"))
    assert isinstance(found, OmniDiffusionModel)
    return found
