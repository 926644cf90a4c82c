"""What vendors' libraries write to file descriptor 2, whatever they think of an error.

The descriptor becomes a pipe to a small process, before any library is imported and any thread
begins. Our own lines go to a copy of the real standard error. The small process keeps the last
lines. It shows each with -v, all of them where the program is killed by a signal, and else none.
Only the command does this: `nextomni_edge.load` leaves the streams of its program as they are.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Final, NoReturn, TextIO

from nextomni_edge.cli.encoding import ERRORS
from nextomni_edge.cli.streams import stderr_is
from nextomni_edge.errors import one_line

KEPT: Final = 2**16  # bytes of the last lines
PREFIX: Final = "nextomni-edge: "
LEFT_OVER: Final = 0.2  # seconds for lines that are still in the pipe at the end
_DONE: Final = b"."


@contextlib.contextmanager
def own_stderr(shows: bool) -> Iterator[None]:
    """In the block only our own lines reach standard error, and with `shows` also those of
    libraries, behind the tool's name. What was said before a signal killed the program is shown
    too. Without `fork`, as on Windows, libraries write where they always do."""
    if sys.stderr is None or not hasattr(os, "fork"):
        yield
        return
    lines, said = os.pipe()
    ends, ended = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        os.close(said)
        os.close(ended)
        _watch(lines, ends, shows)
    os.close(lines)
    os.close(ends)
    ours, before = _text_of(os.dup(2)), sys.stderr
    os.dup2(said, 2)
    os.close(said)
    # another object: the old one may believe that it is a file, which can be wound back
    sys.stderr = _text_of(2)
    try:
        with stderr_is(ours):
            yield
    except Exception:  # a fault of this program that nothing caught
        ours.write(traceback.format_exc())
        sys.exit(1)
    finally:
        sys.stderr = before
        with contextlib.suppress(OSError, ValueError):
            os.write(ended, _DONE)
        os.close(ended)
        with contextlib.suppress(OSError):
            os.waitpid(watcher, 0)


def _text_of(descriptor: int) -> TextIO:
    encoding = getattr(sys.stderr, "encoding", None)
    raw = os.fdopen(descriptor, "wb", 0, closefd=descriptor != 2)
    return io.TextIOWrapper(raw, encoding, errors=ERRORS, write_through=True)


def _watch(lines: int, ends: int, shows: bool) -> NoReturn:
    """The small process: read until the program says that it is done, or is gone."""
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)  # or who reads our results would wait for this process too
        kept, done = bytearray(), None
        while done is None:
            ready, _, _ = select.select([lines, ends], [], [])
            if lines in ready:
                _take(lines, kept, shows)
            if ends in ready:
                done = os.read(ends, 1) == _DONE
        while select.select([lines], [], [], 0 if done else LEFT_OVER)[0]:
            if not _take(lines, kept, shows):
                break
        if shows or not done:
            _show(kept, whole=True)
    finally:
        os._exit(0)


def _take(lines: int, kept: bytearray, shows: bool) -> bool:
    """Read what there is; False at its end. Only so many bytes are kept."""
    read = os.read(lines, KEPT)
    kept += read
    if shows:
        _show(kept)
    del kept[:-KEPT]
    return bool(read)


def _show(kept: bytearray, whole: bool = False) -> None:
    """Write the lines that are kept, and forget them; without `whole` not the last, which may not
    be at its end."""
    cut = len(kept) if whole else kept.rfind(b"\n") + 1
    for line in bytes(kept[:cut]).splitlines():
        if text := one_line(line.decode("utf-8", "replace")):
            os.write(2, f"{PREFIX}{text}\n".encode())
    del kept[:cut]
