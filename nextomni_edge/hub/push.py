"""A bundle written to a repository of the hub, with a model card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nextomni_edge.bundle.manifest import MANIFEST
from nextomni_edge.bundle.reader import HUGGING_FACE, SIGNATURE, Bundle
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.extras import needs_extra
from nextomni_edge.hub.card import model_card
from nextomni_edge.hub.download import quietly, reason
from nextomni_edge.hub.reference import Reference

CARD: Final = "README.md"
LICENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


@dataclass(frozen=True)
class Pushed:
    """The commit that now holds the bundle, and its address."""

    repository: str
    commit: str
    url: str


def push(bundle: Bundle, to: Reference, licence: str, private: bool = False) -> Pushed:
    """Commit the bundle's files and a model card as one commit; the repository is made where there
    is none.

    licence: as the hub names licences, such as "apache-2.0". private: a new repository is not
    public. Files of the repository that the bundle does not have stay. A push that was interrupted
    is repeated; the hub keeps the files that it already has.

    UsageError: no such licence's name. InputError: the hub refuses, or cannot be reached.
    """
    if not LICENCE.fullmatch(licence):
        raise UsageError(f"--licence {licence[:80]!a}: expected a name such as apache-2.0")
    with needs_extra("hub", "huggingface_hub"):
        from huggingface_hub import CommitOperationAdd, HfApi
    quietly()
    card = model_card(bundle, to.repository, licence).encode()
    files = [MANIFEST, *sorted(bundle.manifest.files)]
    files += [name for name in (SIGNATURE, HUGGING_FACE) if (bundle.path / name).is_file()]
    operations = [
        CommitOperationAdd(CARD, card),
        *(CommitOperationAdd(name, str(bundle.path / name)) for name in files),
    ]
    api = HfApi()
    try:
        api.create_repo(to.repository, private=private, exist_ok=True)
        done = api.create_commit(
            to.repository,
            operations,
            commit_message=f"Bundle {bundle.path.name}",
            revision=to.revision,
        )
    # the library's errors share no base with those of the network below it
    except Exception as error:
        raise InputError(f"{to}: {reason(error)}") from error
    return Pushed(to.repository, done.oid, done.commit_url)
