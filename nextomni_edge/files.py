"""Files and directories that appear whole or not at all: temporary sibling, fsync, rename."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from nextomni_edge.errors import UsageError

StrPath = str | os.PathLike[str]  # a path, as every public call takes it

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what a file system says that has no locks, or does not make folders durable
_NOT_HERE: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK)
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NEWBORN: Final = 2.0  # seconds
# Windows opens no directory, so a directory can be neither locked nor synced there.
_OPENS_DIRECTORIES: Final = hasattr(os, "O_DIRECTORY")


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file to write that takes its name when the block ends. When the block raises, the old file
    stays.

    A killed writer leaves `.NAME.XXXXXXXX.part` behind, which the next one removes. `mode` is "wb",
    or "w" for UTF-8 text. UsageError: the place cannot be written, or is full.
    """
    with _writable(path):
        remove_leftovers(path)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open(
                mode.replace("w", "x"),
                encoding=None if "b" in mode else "utf-8",
                newline=None if "b" in mode else "\n",  # the same bytes on every system
            ) as file:
                # without locks nobody removes parts: see remove_leftovers
                with contextlib.suppress(ImportError, OSError):
                    _lock(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


@contextlib.contextmanager
def atomic_directory(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A directory to fill that takes the name `out` when the block ends. On an error nothing of it
    stays.

    The old directory stays whole until the new one is in its place. A killed writer leaves
    `.NAME.part` behind, which the next one removes. UsageError: `out` exists and `overwrite` is
    False, another process is writing it, or the place is full.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100  (resolve() would follow a link that is to be replaced itself)
    part = out.with_name(f".{out.name}.part")
    with _writable(out):
        _restore(out)
        _check_free(out, overwrite)
        with _locked(part):
            _empty(part)
            try:
                yield part
                fsync_tree(part)
                _publish(part, out)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise


@contextlib.contextmanager
def resumable_directory(out: Path) -> Iterator[Path]:
    """A directory to fill in several runs: `.NAME.partial` next to `out`, which takes its name when
    the block ends.

    The next run finds what an error or a kill left in it, so write each file in one step.
    UsageError: `out` exists, another process is filling the directory, or the place is full.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100  (as in atomic_directory)
    part = out.with_name(f".{out.name}.partial")
    with _writable(out):
        _check_free(out, None)
        with _locked(part):
            yield part
            fsync_tree(part)
            part.rename(out)
            fsync_directory(out.parent)


def check_output(out: Path, overwrite: bool | None = None) -> None:
    """What can be told of an output before long work: UsageError where `out` exists and `overwrite`
    is not True (None: there is no such option), or its folder is absent or cannot be written."""
    with _writable(Path(os.path.abspath(out))):  # noqa: PTH100  (as in atomic_directory)
        _check_free(out, overwrite)


def remove_leftovers(path: Path) -> None:
    """Remove the parts that killed writers of this very file left. A new part may not be locked
    yet, and stays."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.part"):
        with contextlib.suppress(ImportError, OSError):
            if time.time() - left.stat().st_mtime > _NEWBORN:
                with left.open("rb") as file:
                    if _lock(file.fileno()):
                        left.unlink()


def user_cache() -> Path:
    """This package's folder for what can be made again, in the place that the system has for it:
    XDG_CACHE_HOME or ~/.cache, ~/Library/Caches on macOS, LOCALAPPDATA on Windows. Nothing is
    made there by asking. UsageError: there is no home folder."""
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(f"no home folder for a cache ({error}); set HOME") from error
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = home / "Library" / "Caches"
    else:  # the XDG base directory specification: a relative path there is to be ignored
        named = Path(os.environ.get("XDG_CACHE_HOME", ""))
        place = named if named.is_absolute() else home / ".cache"
    return place / "nextomni-edge"


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that nobody writes to any more, or a copy where the file system has
    no such names."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable. It does nothing on Windows, which has no such call."""
    if not _OPENS_DIRECTORIES:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    finally:
        os.close(descriptor)


def fsync_tree(path: Path) -> None:
    """Make every file and directory under `path` durable."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            # Windows syncs only what is open for writing
            with (Path(folder) / name).open("rb" if _OPENS_DIRECTORIES else "r+b") as file:
                os.fsync(file.fileno())
        fsync_directory(Path(folder))


def _check_free(out: Path, overwrite: bool | None) -> None:
    if os.path.lexists(out) and not overwrite:
        instead = "" if overwrite is None else " or pass --overwrite"
        raise UsageError(f"{out} exists; choose another name{instead}")


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    """One clear line for a full disk anywhere in the block, and for a folder that is missing or not
    ours."""
    if not path.parent.is_dir():
        raise UsageError(
            f"{path}: the folder {path.parent} does not exist; create it or choose another"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path}: the folder {path.parent} cannot be written; choose another")
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UsageError(
            f"{path}: cannot be written ({os.strerror(error.errno or 0)}); free some space or"
            " choose another place"
        ) from error


def _locks(descriptor: int) -> bool:
    """As `_lock`; a file system without locks is one where nobody holds any."""
    try:
        return _lock(descriptor)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return True


def _lock(descriptor: int) -> bool:
    """Take the file's lock, which dies with its process; False where another holds it. OSError: the
    file system has none; ImportError: the system has none."""
    import fcntl  # absent on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Own the directory `part`, which is made if missing. UsageError: another process owns it."""
    if part.is_symlink() or part.is_file():
        raise UsageError(f"{part} is in the way; remove it")
    with _directory_lock(part) if _OPENS_DIRECTORIES else _lock_file(part):
        yield


@contextlib.contextmanager
def _directory_lock(part: Path) -> Iterator[None]:
    """A lock on the directory itself, which dies with its process."""
    part.mkdir(exist_ok=True)
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if (
            not _locks(descriptor)
            or not os.path.lexists(part)
            or not os.path.samestat(os.fstat(descriptor), os.lstat(part))
        ):
            raise _busy(part)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lock_file(part: Path) -> Iterator[None]:
    """A file that stands next to the directory while its writer lives: with O_TEMPORARY, Windows
    removes the file when the process ends, however it ends."""
    lock = part.with_name(f"{part.name}.lock")
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_TEMPORARY", 0)
    try:
        descriptor = os.open(lock, flags)
    except (FileExistsError, PermissionError) as error:
        raise _busy(part) from error
    try:
        part.mkdir(exist_ok=True)
        yield
    finally:
        os.close(descriptor)
        lock.unlink(missing_ok=True)


def _busy(part: Path) -> UsageError:
    return UsageError(
        f"{part.with_name(part.stem[1:])} is being written by another process; wait until it ends"
    )


def _empty(part: Path) -> None:
    """Remove what a killed writer left in a directory that is owned now."""
    for left in part.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _publish(part: Path, out: Path) -> None:
    """Give `part` the name `out`. Where the kernel can exchange two names, there is no moment
    without a whole `out`."""
    old = _aside(out)
    if not os.path.lexists(out):
        part.rename(out)
    elif _exchange(part, out):
        fsync_directory(out.parent)
        part.rename(old)
    # a crash between these two leaves `old`: the next writer gives it its name back (see _restore)
    else:
        out.rename(old)
        part.rename(out)
    fsync_directory(out.parent)
    if old.is_symlink() or old.is_file():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _restore(out: Path) -> None:
    """Undo an interrupted overwriting, if it stopped between its two renames, and finish an
    interrupted removal."""
    old = _aside(out)
    if os.path.lexists(old):
        if os.path.lexists(out):
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(out)


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically (Linux's renameat2); False where the system or the file system
    cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return bool(
        renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0
    )
