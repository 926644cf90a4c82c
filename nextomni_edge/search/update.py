"""Bringing an index up to date with its folder: unchanged files are kept, new ones embedded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np

from nextomni_edge.errors import InputError
from nextomni_edge.files import remove_leftovers
from nextomni_edge.formats.regular import check_regular, open_regular
from nextomni_edge.media.image import open_image
from nextomni_edge.media.kinds import MAX_MEDIA, kind_of, open_medium
from nextomni_edge.media.parts import Encoder, file_part
from nextomni_edge.search.table import Entry, Float32, Index, load_index, save_index
from nextomni_edge.tokens.chat import Kind, Part, embedding_sequence
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer

Progress = Callable[[int, int, str], None]  # done, in all, what is in hand

SAVE_EVERY_SECONDS = 10.0
SLOWEST = 60.0  # seconds that one file may take


class Embedder(Encoder, Protocol):
    """The part of a model that retrieval needs."""

    @property
    def tokenizer(self) -> TextTokenizer: ...

    def embed(self, sequence: Sequence) -> Float32: ...


@dataclass
class Report:
    """What one run of update_index did. `skipped`: (path, reason) of files with a medium's name
    that cannot be embedded."""

    embedded: int = 0
    kept: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


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
    return model.embed(embedding_sequence(model.tokenizer, part, model.config))


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
