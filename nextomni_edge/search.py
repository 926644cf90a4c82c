"""Retrieval over a folder of mixed media: `index` embeds the files, `find` finds the nearest to a
query of any modality.

An index is a safetensors file: `embeddings` (N, H) float32 with L2-normalised rows, and in its
header, as JSON, what each row is. One file renamed into place is never half old and half new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import StrPath, atomic_write, remove_leftovers
from nextomni_edge.formats.regular import check_regular, open_regular
from nextomni_edge.formats.strict_json import parse_json, read_dataclass
from nextomni_edge.media.image import open_image
from nextomni_edge.media.kinds import MAX_MEDIA, kind_of, open_medium
from nextomni_edge.media.parts import Encoder, file_part
from nextomni_edge.tokens.chat import Kind, Part, embedding_sequence
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer

Float32 = NDArray[np.float32]
Progress = Callable[[int, int, str], None]  # done, in all, what is in hand

INDEX_NAME = ".nextomni-edge-index.safetensors"
FORMAT = "nextomni-edge-index"
VERSION = 1
SAVE_EVERY_SECONDS = 10.0
SLOWEST = 60.0  # seconds that one file may take
# the coarsest file clock in use (FAT): a file written this shortly before it was hashed may change
# unseen
CLOCK_NS = 2_000_000_000


class Embedder(Encoder, Protocol):
    """The part of a model that retrieval needs."""

    @property
    def tokenizer(self) -> TextTokenizer: ...

    def embed(self, sequence: Sequence) -> Float32: ...


@dataclass(frozen=True)
class Entry:
    """One row of the index. `path` is relative to the folder, with slashes; `hashed_ns` is when the
    file was read."""

    path: str
    kind: Kind
    sha256: str
    size: int
    mtime_ns: int
    hashed_ns: int

    def unchanged(self, status: os.stat_result) -> bool:
        """Whether the file surely is the hashed one, only by its size and time."""
        same = (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return same and self.mtime_ns + CLOCK_NS < self.hashed_ns


@dataclass(frozen=True)
class Header:
    """`model`: the identity of the bundle that made the embeddings, its manifest's SHA-256."""

    format: str
    version: int
    model: str
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Index:
    """Row i of `embeddings` (N, H) belongs to entry i; rows are in order of path."""

    model: str
    entries: tuple[Entry, ...]
    embeddings: Float32

    def search(
        self, query: Float32, count: int, kind: Kind | None = None
    ) -> list[tuple[Entry, float]]:
        """The `count` entries nearest to a normalised query (H,), by cosine, best first; ties keep
        the order of paths."""
        if count < 1:
            raise UsageError(f"count of results is {count}, expected at least 1")
        if query.shape != self.embeddings.shape[1:]:
            raise InputError(
                f"query embedding of shape {query.shape}, the index has {self.embeddings.shape[1:]}"
            )
        rows = [row for row, entry in enumerate(self.entries) if kind in (None, entry.kind)]
        cosines = self.embeddings[rows] @ query
        order = np.argsort(-cosines, kind="stable")[:count]
        return [(self.entries[rows[place]], float(cosines[place])) for place in order]


@dataclass
class Report:
    """What one run of update_index did. `skipped`: (path, reason) of files with a medium's name
    that cannot be embedded."""

    embedded: int = 0
    kept: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


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


def save_index(path: Path, index: Index) -> None:
    """Replace the index file in one step."""
    from safetensors.numpy import save

    header = asdict(Header(FORMAT, VERSION, index.model, index.entries))
    with atomic_write(path) as file:
        file.write(save({"embeddings": index.embeddings}, metadata={"index": json.dumps(header)}))


def load_index(path: Path, model: str) -> Index:
    """Read an index that the given model made. InputError: it is missing or damaged, or another
    model made it."""
    if not path.is_file():
        raise InputError(
            f"{path}: no index; make it with `nextomni-edge search index {path.parent}`"
        )
    header, embeddings = _read_index(path)
    if header.model != model:
        raise InputError(
            f"{path}: made by another bundle ({header.model[:12]}, this one is {model[:12]}); "
            f"delete it and run `nextomni-edge search index {path.parent}`"
        )
    return Index(header.model, header.entries, embeddings)


def _read_index(path: Path) -> tuple[Header, Float32]:
    from safetensors import safe_open

    open_regular(path).close()
    try:
        with safe_open(path, framework="numpy") as file:
            described = parse_json((file.metadata() or {})["index"].encode(), str(path))
            embeddings = file.get_tensor("embeddings")
    # safetensors' own type for a bad file, KeyError, ValueError, OSError
    except Exception as error:
        raise InputError(f"{path}: not an index ({error}); delete it and index again") from error
    header = read_dataclass(Header, described, str(path))
    if (header.format, header.version) != (FORMAT, VERSION):
        raise InputError(
            f"{path}: {header.format} version {header.version}, expected {FORMAT} version {VERSION}"
        )
    if (
        embeddings.dtype != np.float32
        or embeddings.ndim != 2
        or len(embeddings) != len(header.entries)
    ):
        raise InputError(
            f"{path}: embeddings {embeddings.dtype} of {embeddings.shape} for {len(header.entries)}"
            " files"
        )
    if not np.isfinite(embeddings).all():
        raise InputError(f"{path}: embeddings that are not finite")
    if any(
        PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts
        for entry in header.entries
    ):
        raise InputError(f"{path}: a path that leaves the folder")
    return header, embeddings


def media_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(relative path with slashes, path) of every media file under the folder, sorted; hidden names
    and links are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and kind_of(path) is not None and not path.is_symlink():
                yield path.relative_to(folder).as_posix(), path


def file_kind(path: Path) -> Kind:
    """The kind by suffix, except that an animated picture is a video. InputError: not a media
    file's name, or damaged."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: suffix {path.suffix!r} names no kind of media")
    if kind == "image":
        with open_medium(path) as file, open_image(path, file) as image:
            return (
                "video"
                if getattr(image, "n_frames", 1) > 1
                and image.format in ("GIF", "WEBP", "PNG", "AVIF")
                else "image"
            )
    return kind


def embed_part(model: Embedder, part: Part) -> Float32:
    """The part's L2-normalised embedding, (H,) float32."""
    return model.embed(embedding_sequence(model.tokenizer, part))


def update_index(
    folder: Path,
    path: Path,
    model: Embedder,
    identity: str,
    observe: Progress | None = None,
    slowest: float = SLOWEST,
) -> Report:
    """Bring the folder's index up to date. An unchanged file costs a stat, a moved one a hash, a
    new one an embedding.

    Work is saved every few seconds next to the index, so that an interrupted run continues. The
    index itself is only replaced at the end. A sound that is longer than the model takes is
    embedded by its beginning. `observe` receives (files done, all files, relative path). A file
    that takes more than `slowest` seconds is skipped.
    """
    partial = path.with_name(path.name + ".partial")
    known = [*_known(path, identity), *_known(partial, identity, forgiving=True)]
    update = _Update(model, identity, known, slowest)
    files = list(media_files(folder))
    saved = time.monotonic()
    for done, (relative, file) in enumerate(files):
        if observe:
            observe(done, len(files), relative)
        update.add(relative, file)
        if time.monotonic() - saved > SAVE_EVERY_SECONDS:
            save_index(partial, update.index())
            saved = time.monotonic()
    if observe:
        observe(len(files), len(files), "")
    update.report.removed = update.removed(path, identity)
    save_index(path, update.index())
    partial.unlink(missing_ok=True)
    remove_leftovers(partial)
    return update.report


def _known(path: Path, identity: str, forgiving: bool = False) -> Iterable[tuple[Entry, Float32]]:
    """Entries with their rows in an earlier index. A partial index that does not fit is made
    again."""
    if not path.exists():
        return []
    with contextlib.suppress(*((InputError,) if forgiving else ())):
        index = load_index(path, identity)
        return list(zip(index.entries, index.embeddings, strict=True))
    return []


@contextlib.contextmanager
def _time_limit(path: Path, seconds: float) -> Iterator[None]:
    """InputError after so many seconds. Only a process's main thread, and only where there are
    timers, can be told."""
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        yield
        return

    def over(signum: int, frame: object) -> NoReturn:
        raise InputError(f"{path}: not read within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Update:
    """One run over the folder: the known rows, and the rows found so far."""

    def __init__(
        self,
        model: Embedder,
        identity: str,
        known: Iterable[tuple[Entry, Float32]],
        slowest: float,
    ) -> None:
        self.report, self._slowest = Report(), slowest
        self._model, self._identity = model, identity
        self._by_path: dict[str, tuple[Entry, Float32]] = {}
        self._by_content: dict[tuple[str, Kind], Float32] = {}
        for entry, row in known:
            self._by_path[entry.path] = (entry, row)
            self._by_content[entry.sha256, entry.kind] = row
        self._rows: dict[str, tuple[Entry, Float32]] = {}

    def add(self, relative: str, path: Path) -> None:
        try:
            check_regular(path, path.stat(), MAX_MEDIA)
            if not relative.isascii() and relative.encode("utf-8", "replace").decode() != relative:
                raise InputError(f"{relative!a}: the name is not Unicode; rename the file")
            status = path.stat()
            before = self._by_path.get(relative)
            if before and before[0].unchanged(status):
                self._rows[relative] = before
                self.report.kept += 1
            else:
                with _time_limit(path, self._slowest):
                    self._rows[relative] = self._read(relative, path, status)
        except (InputError, OSError) as error:
            self.report.skipped.append((relative.encode("utf-8", "replace").decode(), str(error)))

    def _read(self, relative: str, path: Path, status: os.stat_result) -> tuple[Entry, Float32]:
        hashed_ns = time.time_ns()
        with open_regular(path, MAX_MEDIA) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        kind = file_kind(path)
        entry = Entry(relative, kind, digest, status.st_size, status.st_mtime_ns, hashed_ns)
        row = self._by_content.get((digest, kind))
        if row is None:
            row = embed_part(self._model, file_part(self._model, kind, path, trim=True))
            self._by_content[digest, kind] = row
            self.report.embedded += 1
        else:
            self.report.kept += 1
        return entry, row

    def removed(self, path: Path, identity: str) -> int:
        """How many rows of the present index belong to files that are gone or unreadable."""
        return sum(entry.path not in self._rows for entry, _ in _known(path, identity))

    def index(self) -> Index:
        width = self._model.config.backbone.hidden_size
        rows = [self._rows[name] for name in sorted(self._rows)]
        embeddings = (
            np.stack([row for _, row in rows]) if rows else np.zeros((0, width), dtype=np.float32)
        )
        return Index(
            self._identity, tuple(entry for entry, _ in rows), embeddings.astype(np.float32)
        )
