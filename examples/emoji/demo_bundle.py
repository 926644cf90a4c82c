"""The committed checkpoint as a bundle: exported and verified once, and again whenever the
checkpoint or the exporter changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catalog import HERE

from nextomni_edge.bundle import Bundle
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError

CHECKPOINT = HERE / "checkpoint"
BUNDLE = HERE.parents[1] / "demo" / "bundle"


def exporter_digest() -> str:
    """SHA-256 over the sources that decide what a bundle holds."""
    import nextomni_edge

    package = Path(nextomni_edge.__file__).parent
    digest = hashlib.sha256()
    for folder in ("bundle", "config", "export", "models", "verify"):
        for source in sorted((package / folder).rglob("*.py")):
            digest.update(source.read_bytes())
    for name in ("graphs.py", "spec.py"):
        digest.update((package / name).read_bytes())
    return digest.hexdigest()


def up_to_date(bundle: Path, checkpoint: Path, stamp: Path) -> bool:
    """Whether the bundle was made of this checkpoint by this exporter, and is whole."""
    try:
        source = Bundle.open(bundle).manifest.provenance.source
        return (
            source == Checkpoint.open(checkpoint).sha256()
            and stamp.read_text(encoding="utf-8") == exporter_digest()
        )
    except (InputError, OSError):
        return False


def ensure_bundle(bundle: Path, say: Callable[[str], None], checkpoint: Path = CHECKPOINT) -> Path:
    """Export the checkpoint to `bundle`, verified, unless that is done already. GateError: the
    bundle is not the model."""
    stamp = bundle.with_name(f"{bundle.name}.exporter")
    if up_to_date(bundle, checkpoint, stamp):
        say(f"{bundle} is up to date")
        return bundle
    from nextomni_edge.export import export_bundle

    say(f"exporting {checkpoint} to {bundle}")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    report = export_bundle(checkpoint, bundle, overwrite=True)
    stamp.write_text(exporter_digest(), encoding="utf-8")
    tasks: dict[str, Any] = (report.parity or {}).get("tasks", {})  # type: ignore[assignment]
    steps = sum(task["steps"] for task in tasks.values())
    say(
        f"exported and verified: {len(tasks)} generations, {steps} steps, the same tokens as in"
        " PyTorch"
    )
    return bundle
