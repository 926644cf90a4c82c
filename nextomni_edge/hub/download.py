"""Repositories of the Hugging Face hub in the hub library's own cache. Its conventions hold:
HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE. No code of a repository is fetched."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nextomni_edge.bundle.manifest import MANIFEST, read_manifest
from nextomni_edge.bundle.reader import MAX_MANIFEST, SIGNATURE
from nextomni_edge.errors import InputError, reason_of
from nextomni_edge.extras import needs_extra
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.hub.reference import Reference, reference

# Of a checkpoint. The two metric tables are pickles; only checkpoints/pickled.py reads them.
CHECKPOINT: Final = (
    "config.json",
    "tokenizer.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "text_embedding.pt",
    "image_embedding.pt",
)
# what the hub answers, in our words
REASONS: Final = {
    "GatedRepoError": "its owner must grant you access: ask for it on the hub, and set HF_TOKEN",
    "RepositoryNotFoundError": (
        "there is no such repository, or it is private: check the name, or set HF_TOKEN"
    ),
    "RevisionNotFoundError": "there is no such revision",
    "LocalEntryNotFoundError": "it is not in the cache, and the hub cannot be reached",
    "OfflineModeIsEnabled": "it is not in the cache, and HF_HUB_OFFLINE is set",
}


@dataclass(frozen=True)
class Fetched:
    """A folder in the cache, and the commit that it holds, 40 hex digits."""

    folder: Path
    commit: str


def checkpoint(asked: Reference) -> Fetched:
    """A published checkpoint: its config, its tokenizer and its safetensors files.

    InputError: the hub does not have it, or cannot be reached.
    """
    return _snapshot(asked, CHECKPOINT)


def bundle(asked: Reference) -> Fetched:
    """A bundle: its manifest, the files that the manifest lists, and its signature if it has one.

    InputError: the hub does not have it or cannot be reached, or the repository is no bundle.
    """
    found = _snapshot(asked, [MANIFEST])
    file = found.folder / MANIFEST
    if not file.exists():
        raise InputError(
            f"{asked}: it has no {MANIFEST}, so it is no bundle; `import` reads checkpoints"
        )
    listed = read_manifest(read_json(file, MAX_MANIFEST), str(file)).files
    # the same commit, should the branch move in between
    return _snapshot(Reference(asked.repository, found.commit), [MANIFEST, SIGNATURE, *listed])


def located(path: str | os.PathLike[str]) -> Path:
    """The place of a bundle on this machine: of `hf:OWNER/NAME[@REVISION]`, where it was fetched
    to."""
    asked = reference(path)
    return Path(path) if asked is None else bundle(asked).folder


def _snapshot(asked: Reference, files: Collection[str]) -> Fetched:
    """A download that goes on where an interrupted one ended."""
    with needs_extra("hub", "huggingface_hub"):
        from huggingface_hub import snapshot_download
    quietly()
    try:
        folder = snapshot_download(
            asked.repository, revision=asked.revision, allow_patterns=list(files)
        )
    # the library's errors share no base with those of the network below it
    except Exception as error:
        raise InputError(f"{asked}: {reason(error)}") from error
    return Fetched(Path(folder), Path(folder).name)


def quietly() -> None:
    """No progress bars of the hub's library, unless a person looks."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not (sys.stderr and sys.stderr.isatty()):
        disable_progress_bars()


def reason(error: Exception) -> str:
    """Why the hub was of no use, in one line."""
    for kind in type(error).__mro__:
        if kind.__name__ in REASONS:
            return REASONS[kind.__name__]
    return f"cannot be fetched ({reason_of(error)}); try again, or give a folder"
