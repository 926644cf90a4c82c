"""A checkpoint fetched from the Hugging Face hub: one pinned revision, weights as safetensors, no
code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from nextomni_edge.errors import InputError, MissingRuntimeError, UsageError

REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
REVISION: Final = re.compile(r"[0-9a-f]{40}")
# The two metric tables are pickles; only checkpoints/pickled.py reads them.
FILES: Final = (
    "config.json",
    "tokenizer.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "text_embedding.pt",
    "image_embedding.pt",
)


def fetch(repository: str, revision: str | None) -> Path:
    """The folder of a repository's files in the hub's own cache. Missing files are downloaded.

    UsageError: no revision, or a name that can move. InputError: the hub does not have it, or
    cannot be reached.
    """
    if revision is None or not REVISION.fullmatch(revision):
        raise UsageError(
            f"{repository}: a hub id needs --revision, the 40 hex digits of a commit; names such as"
            " 'main' can move"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingRuntimeError(
            f"huggingface_hub is not installed ({error}); install with: pip install huggingface_hub"
        ) from error
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    # the library's errors share no base with those of the network below it
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{repository} at {revision}: cannot be fetched ({reason[:200]}); give a local folder"
            " instead"
        ) from error
