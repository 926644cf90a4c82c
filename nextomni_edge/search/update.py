"""Bringing an index up to date with its folder: unchanged files are kept, new ones embedded."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from nextomni_edge.errors import InputError
from nextomni_edge.formats.regular import check_regular, open_regular, sha256_of
from nextomni_edge.media.image import open_image
from nextomni_edge.media.kinds import MAX_MEDIA, kind_of, open_medium
from nextomni_edge.media.parts import Encoder, file_windows
from nextomni_edge.search.blocks import Float32
from nextomni_edge.search.table import Entry, Table, Window, open_table
from nextomni_edge.tokens.chat import Kind, Part, embedding_sequence
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer

Progress = Callable[[int, int, str], None]  # done, in all, what is in hand

SAVE_EVERY_SECONDS = 10.0
SLOWEST = 60.0  # seconds that one window of a file may take


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
    new one its embeddings.

    The index is saved every few seconds, so that an interrupted run continues. Files that are gone
    leave it at the end. `observe` receives (files done, all files, relative path). A file of which
    a window takes more than `slowest` seconds is skipped.
    """
    files = list(media_files(folder))
    with open_table(path, identity, model.config.backbone.hidden_size) as table:
        update = _Update(model, table, slowest)
        saved = time.monotonic()
        for done, (relative, file) in enumerate(files):
            if observe:
                observe(done, len(files), relative)
            update.add(relative, file)
            if time.monotonic() - saved > SAVE_EVERY_SECONDS:
                table.save()
                saved = time.monotonic()
        if observe:
            observe(len(files), len(files), "")
        update.remove_others()
        table.save()
    return update.report


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
    """One run over the folder: the table, and the files found so far."""

    def __init__(self, model: Embedder, table: Table, slowest: float) -> None:
        self.report, self._slowest = Report(), slowest
        self._model, self._table = model, table
        self._found = set[str]()

    def add(self, relative: str, path: Path) -> None:
        try:
            status = path.stat()
            check_regular(path, status, MAX_MEDIA)
            if not relative.isascii() and relative.encode("utf-8", "replace").decode() != relative:
                raise InputError(f"{relative!a}: the name is not Unicode; rename the file")
            before = self._table.entry(relative)
            if before and before.unchanged(status):
                self.report.kept += 1
            else:
                entry, windows = self._read(relative, path, status)
                self._table.put(entry, windows)
            self._found.add(relative)
        except (InputError, OSError) as error:
            self.report.skipped.append((relative.encode("utf-8", "replace").decode(), str(error)))

    def _read(
        self, relative: str, path: Path, status: os.stat_result
    ) -> tuple[Entry, list[Window]]:
        hashed_ns = time.time_ns()
        with _time_limit(path, self._slowest):
            with open_regular(path, MAX_MEDIA) as file:
                digest = sha256_of(file)
            kind = file_kind(path)
        entry = Entry(relative, kind, digest, status.st_size, status.st_mtime_ns, hashed_ns)
        windows = self._table.windows(digest, kind)
        if windows:
            self.report.kept += 1
        else:
            windows = list(self._embedded(kind, path))
            self.report.embedded += 1
        return entry, windows

    def _embedded(self, kind: Kind, path: Path) -> Iterator[Window]:
        parts = file_windows(self._model, kind, path)
        while True:
            with _time_limit(path, self._slowest):
                part = next(parts, None)
                row = None if part is None else embed_part(self._model, part.media)
            if part is None or row is None:
                return
            yield Window(part.start, part.stop, row)

    def remove_others(self) -> None:
        """Forget the files that are gone or unreadable."""
        gone = [entry.path for entry in self._table.entries() if entry.path not in self._found]
        if gone:
            self._table.remove(gone)
        self.report.removed = len(gone)
