"""Retrieval over a folder of mixed media: `index` embeds the files, `find` finds the nearest to a
query of any modality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nextomni_edge.files import StrPath
from nextomni_edge.search.table import Float32, load_index
from nextomni_edge.search.update import Embedder, Progress, Report, update_index
from nextomni_edge.tokens.chat import Kind

INDEX_NAME = ".nextomni-edge-index.safetensors"


class Finder(Protocol):
    """What `index` and `find` need of a model: `nextomni_edge.Model` has it."""

    @property
    def edge(self) -> Embedder: ...

    @property
    def identity(self) -> str: ...

    def embed(self, items: list[Any], *, trim: bool = False) -> Float32: ...


@dataclass(frozen=True)
class Hit:
    """A file that was found, and the cosine of its embedding to the query's."""

    path: Path
    kind: Kind
    cosine: float


def index(
    folder: StrPath,
    model: Finder,
    file: StrPath | None = None,
    progress: Progress | None = None,
) -> Report:
    """Embed every text, picture, sound and video under a folder; a second call embeds what is new.

    file: where the index is kept; in the folder by default. progress: called with (files done,
    files in all, the path in hand). The report lists what cannot be embedded. InputError: `folder`
    is no folder, or the file is the index of another model.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> report = ne.search.index("photos", model)
    >>> report.embedded + report.kept > 0
    True
    """
    place = Path(folder)
    return update_index(place, _index_file(place, file), model.edge, model.identity, progress)


def find(
    folder: StrPath,
    query: object,
    model: Finder,
    count: int = 5,
    kind: Kind | None = None,
    *,
    file: StrPath | None = None,
    trim: bool = False,
) -> list[Hit]:
    """The `count` files nearest to a query, best first: a text, or a medium as a prompt's part.

    kind: only files of this modality. InputError: the folder has no index, or one of another model.

    >>> import nextomni_edge as ne
    >>> model = ne.load("demo/bundle")
    >>> report = ne.search.index("photos", model)
    >>> hits = ne.search.find("photos", "a rocket", model, kind="image")
    >>> [hit.kind for hit in hits]
    ['image']
    """
    place = Path(folder)
    found = load_index(_index_file(place, file), model.identity)
    hits = found.search(model.embed([query], trim=trim)[0], count, kind)
    return [Hit(place / entry.path, entry.kind, cosine) for entry, cosine in hits]


def _index_file(folder: Path, file: StrPath | None) -> Path:
    return folder / INDEX_NAME if file is None else Path(file)
