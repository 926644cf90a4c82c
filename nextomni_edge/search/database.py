"""The index's file: a SQLite database that may be a stranger's, opened with care, and its errors as
one line each."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nextomni_edge.errors import InputError, UsageError, reason_of
from nextomni_edge.extras import needs_extra
from nextomni_edge.formats.regular import check_regular

if TYPE_CHECKING:
    import apsw

APPLICATION: Final = 0x4E4F4549  # "NOEI", what `file` and SQLite call the application's id
VERSION: Final = 3  # 1 was a safetensors file, 2 had a row of INT8 for each window
SCHEMA: Final = (
    "CREATE TABLE about(model TEXT, width INTEGER) STRICT",
    (
        "CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT UNIQUE, kind TEXT, sha256 TEXT,"
        " size INTEGER, mtime_ns INTEGER, hashed_ns INTEGER) STRICT"
    ),
    "CREATE INDEX contents ON files(sha256)",
    "CREATE TABLE windows(id INTEGER PRIMARY KEY, file INTEGER, start REAL, stop REAL) STRICT",
    "CREATE INDEX windows_of ON windows(file)",
    "CREATE TABLE embeddings(id INTEGER PRIMARY KEY, embedding BLOB) STRICT",
    "CREATE TABLE blocks(id INTEGER PRIMARY KEY, files BLOB, scales BLOB, codes BLOB) STRICT",
)
PAGE: Final = 16384  # bytes: a query reads every page of `blocks`
BUSY_MS: Final = 10_000  # how long another process may write before we give up
MAX_ROW: Final = 2**20  # bytes of one value: a stranger's file may claim gigabytes


def open_database(path: Path, model: str, width: int | None) -> tuple[apsw.Connection, int]:
    """The database of a model's index, and the width of its embeddings; with `width`, one that is
    absent is made. Errors as `open_table`'s."""
    # No descriptor of ours: closing one would drop the locks that SQLite holds in this process.
    status = _status(path)
    # a run that was killed at its very beginning leaves an empty file
    exists = status is not None and status.st_size > 0
    if not exists and width is None:
        raise InputError(
            f"{path}: no index; make it with `nextomni-edge search index {path.parent}`"
        )
    with needs_extra("search", "apsw"), translated(path):
        connection = _connected(path, create=width is not None)
        try:
            if status is not None and not os.path.samestat(status, path.stat()):
                raise InputError(f"{path}: replaced while it was opened; try again")
            if not exists and width is not None:
                _create(connection, model, width)
            found, stored = _checked(path, connection)
        except BaseException:
            connection.close()
            raise
    if found != model:
        connection.close()
        raise InputError(
            f"{path}: made by another bundle ({found[:12]}, this one is {model[:12]}); "
            f"delete it and run `nextomni-edge search index {path.parent}`"
        )
    return connection, stored


def _status(path: Path) -> os.stat_result | None:
    """Of the index file; None where there is none. InputError: no regular file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    check_regular(path, status)
    return status


def _connected(path: Path, create: bool) -> apsw.Connection:
    import apsw

    # For writing, also where it is only read: what a killed run left must be undone.
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_ROW)
    # the file may be a stranger's: its schema runs no code, and none of its tricks is believed
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    for setting in (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER,
                    apsw.SQLITE_DBCONFIG_ENABLE_VIEW):  # fmt: skip
        connection.config(setting, 0)
    connection.execute("PRAGMA cell_size_check = ON")
    # a change that outgrows the cache would lock readers out
    connection.execute("PRAGMA cache_spill = OFF")
    return connection


def _create(connection: apsw.Connection, model: str, width: int) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE}")
    connection.execute("BEGIN IMMEDIATE")
    if not connection.pragma("user_version"):  # else another process was faster
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES (?, ?)", (model, width))
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _checked(path: Path, connection: apsw.Connection) -> tuple[str, int]:
    """The model and the width of an index. InputError: another schema than ours."""
    again = "delete it and index again"
    if connection.pragma("application_id") != APPLICATION:
        raise InputError(f"{path}: a database of another program; choose another file")
    if (version := connection.pragma("user_version")) != VERSION:
        raise InputError(f"{path}: an index of version {version}, expected {VERSION}; {again}")
    schema = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    about = connection.execute("SELECT model, width FROM about LIMIT 2").fetchall()
    journal = connection.pragma("journal_mode")
    if {sql for (sql,) in schema} != set(SCHEMA) or journal != "delete" or len(about) != 1:
        raise InputError(f"{path}: not an index as this program makes it; {again}")
    model, width = about[0]
    if not isinstance(model, str) or not isinstance(width, int) or not 1 <= width <= MAX_ROW // 4:
        raise InputError(f"{path}: embeddings of {width!a} numbers; {again}")
    return model, width


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as one line each."""
    import apsw

    unread = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS)
    try:
        yield
    except apsw.BusyError as error:
        raise UsageError(
            f"{path} is being written by another process; wait until it ends"
        ) from error
    except (apsw.FullError, apsw.IOError) as error:
        if getattr(error, "extendedresult", None) in unread:  # its stubs leave it out
            raise InputError(f"{path}: cannot be read ({reason_of(error)})") from error
        full = isinstance(error, apsw.FullError)
        reason = os.strerror(errno.ENOSPC) if full else reason_of(error)
        raise UsageError(
            f"{path}: cannot be written ({reason}); free some space or choose another place"
        ) from error
    except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
        raise UsageError(f"{path}: cannot be written ({reason_of(error)})") from error
    except (apsw.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not an index, or damaged ({reason_of(error)}); delete it and index again"
        ) from error
