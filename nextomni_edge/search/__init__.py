"""Retrieval over a folder of mixed media: `index` embeds the files, `find` finds the nearest to a
query of any modality."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import StrPath
from nextomni_edge.media.memory import is_sound
from nextomni_edge.search.blocks import Float32
from nextomni_edge.search.table import Table, open_table
from nextomni_edge.search.update import Embedder, Progress, Report, update_index
from nextomni_edge.search.watch import watch_index
from nextomni_edge.tokens.chat import Kind

INDEX_NAME = ".nextomni-edge-index.sqlite"
OLD_NAME = ".nextomni-edge-index.safetensors"
OPPOSED = 1e-3  # a sum of unit vectors that is shorter points nowhere


class Finder(Protocol):
    """What `index` and `find` need of a model: `nextomni_edge.Model` has it."""

    @property
    def edge(self) -> Embedder: ...

    @property
    def identity(self) -> str: ...

    def embed(self, items: list[Any], *, trim: bool = False) -> Float32: ...


@dataclass(frozen=True)
class Hit:
    """A file that was found, and the cosine of its embedding to the query's. Of a long sound or
    film, `start` and `stop` are the seconds of its nearest window; else they are None."""

    path: Path
    kind: Kind
    cosine: float
    start: float | None = None
    stop: float | None = None


def index(
    folder: StrPath,
    model: Finder,
    file: StrPath | None = None,
    progress: Progress | None = None,
) -> Report:
    """Embed every text, picture, sound and video under a folder; a second call embeds what is new.

    A sound that is longer than the model takes, and a film of more than about 15 s, are embedded
    by windows. file: where the index is kept; in the folder by default. progress: called with
    (files done, files in all, the path in hand). The report lists what cannot be embedded.

    InputError: `folder` is no folder, or the file is no index, or one of another model.
    MissingRuntimeError: the extra `search` is not installed.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> report = ne.search.index("photos", model)
    >>> report.embedded + report.kept > 0
    True
    """
    place = Path(folder)
    return update_index(place, index_file(place, file), model.edge, model.identity, progress)


def watch(
    folder: StrPath,
    model: Finder,
    file: StrPath | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Report]:
    """As `index`, now and again after every change below the folder, until `stop` is set."""
    place = Path(folder)
    where = index_file(place, file)
    return watch_index(place, where, model.edge, model.identity, progress, stop)


def find(
    folder: StrPath,
    query: object,
    model: Finder,
    count: int = 5,
    kind: Kind | None = None,
    *,
    within: str | None = None,
    file: StrPath | None = None,
    trim: bool = False,
) -> list[Hit]:
    """The `count` files nearest to a query, best first: a text, or a medium as a prompt's part. A
    tuple of these is one query: the mean of their embeddings, normalised.

    kind: only files of this modality. within: only files below this folder inside of `folder`.
    InputError: the folder has no index, or one of another model. UsageError: parts of a query that
    cancel each other.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> report = ne.search.index("photos", model)
    >>> hits = ne.search.find("photos", (ne.Image("rocket.png"), "at night"), model, kind="image")
    >>> [hit.kind for hit in hits]
    ['image']
    """
    with open_index(folder, model.identity, file) as table:
        return nearest(table, folder, query, model, count, kind, within=within, trim=trim)


def open_index(folder: StrPath, identity: str, file: StrPath | None = None) -> Table:
    """The index of a folder, to read. InputError: there is none, or one of another model."""
    return open_table(index_file(Path(folder), file), identity)


def nearest(
    table: Table,
    folder: StrPath,
    query: object,
    model: Finder,
    count: int = 5,
    kind: Kind | None = None,
    *,
    within: str | None = None,
    trim: bool = False,
) -> list[Hit]:
    """As `find`, in an index that is open."""
    several = isinstance(query, tuple) and not is_sound(query)
    rows = model.embed(list(query) if several else [query], trim=trim)  # type: ignore[call-overload]
    found = table.nearest(combined(rows), count, kind, within)
    return [
        Hit(Path(folder) / match.path, match.kind, match.cosine, match.start, match.stop)
        for match in found
    ]


def combined(rows: Float32) -> Float32:
    """The normalised mean (H,) of normalised embeddings (N,H). UsageError: there are none, or they
    cancel each other."""
    if not len(rows):
        raise UsageError("an empty query: give a text or a medium")
    mean: Float32 = rows.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < OPPOSED:
        raise UsageError("the parts of the query cancel each other; leave one out")
    return mean / np.float32(length)


def index_file(folder: Path, file: StrPath | None) -> Path:
    """Where the index of a folder is kept. InputError: the folder only has an index of an older
    version."""
    if file is not None:
        return Path(file)
    if (folder / OLD_NAME).is_file() and not (folder / INDEX_NAME).exists():
        raise InputError(
            f"{folder / OLD_NAME}: an index of an older version; delete it, then run"
            f" `nextomni-edge search index {folder}`"
        )
    return folder / INDEX_NAME
