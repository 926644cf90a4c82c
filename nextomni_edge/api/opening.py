"""Opening a model: a bundle, or a model directory for the torch reference."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from nextomni_edge.bundle import Bundle, bundle_identity
from nextomni_edge.bundle.trust import Trust, check_signature
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import Execution
from nextomni_edge.runtimes.base import runtime as named_runtime
from nextomni_edge.runtimes.choice import Choice, choose
from nextomni_edge.spec import ComponentName

DEFAULT: Final = Trust()


def is_bundle(path: Path) -> bool:
    """True for a bundle, False for a model directory. InputError: neither."""
    if not path.exists():
        raise InputError(
            f"{path}: no such directory; expected a bundle, as `nextomni-edge export` writes it"
        )
    if (path / "manifest.json").is_file():
        return True
    if (path / "config.json").is_file():
        return False
    several = path.is_file() or (path / "variants.json").exists()
    hint = (
        "; `run --variant` and `chat --variant` choose among measured variants" if several else ""
    )
    raise InputError(
        f"{path}: neither a bundle (manifest.json) nor a model directory (config.json){hint}"
    )


def chosen(path: Path, execution: Execution) -> Choice:
    """How to run what is at `path`: as asked; else as `runtimes.choice` decides for a bundle.

    InputError: neither a bundle nor a model directory.
    """
    if not is_bundle(path):
        return Choice(execution)
    return choose(Bundle.open(path, verify_hashes=False), execution)


def open_model(path: Path, execution: Execution, trust: Trust = DEFAULT) -> EdgeModel:
    """The model at `path`, checked whole; its components are loaded on their first use.

    InputError: neither a bundle nor a model directory, or damaged. MissingRuntimeError: the runtime
    or the device is not here. UsageError: the runtime does not read the bundle, or a model
    directory is to run in anything but torch.
    """
    if is_bundle(path):
        if trust.key is not None:
            check_signature(path, trust.key)
        bundle = Bundle.open(path, trust.hashes)
        _check_here(bundle, execution)
        return EdgeModel.from_bundle(bundle, execution)
    if trust.key is not None:
        raise UsageError(f"{path} is a model directory; only bundles are signed")
    kept = Execution(provider=execution.provider, compute=execution.compute)
    if replace(execution, runtime=None) != kept or execution.runtime not in (None, "torch"):
        raise UsageError(
            f"{path} is a model directory, which only torch runs; export it first, or leave"
            " --runtime, --cache, --allow-fallback and `threads` out"
        )
    return EdgeModel.from_checkpoint(path, kept)


def _check_here(bundle: Bundle, execution: Execution) -> None:
    """Errors of `open_model` that would otherwise be met at the first answer."""
    execution.check_reads({part.format for part in bundle.manifest.components.values()})
    backbone = bundle.manifest.components.get(ComponentName.BACKBONE)
    if backbone is not None:
        how = execution.of_format(backbone.format)
        runtime = named_runtime(how.runtime or "", how)
        runtime.choose_provider(ComponentName.BACKBONE, how.provider)


def identity(path: Path) -> str:
    """SHA-256 that names the model: a bundle's identity, or the digest of a model directory's
    files."""
    if is_bundle(path):
        return bundle_identity(path)
    digests = Checkpoint.open(path).sha256()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
