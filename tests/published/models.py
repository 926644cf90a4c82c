"""The recorded checkpoints as model directories, imported once."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.export.bundle import export_bundle
from nextomni_edge.models.networks import expected_shapes
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
    import_model(FOLDER / family, out, expected_shapes, image_tokenizer=image_tokenizer(family))
    return out


def bundled(family: str, made_once: MakeOnce) -> Path:
    """The verified bundle, exported once for all tests."""
    return made_once(
        f"published-{family}", lambda out: export_bundle(imported(family), out, verify="full")
    )
