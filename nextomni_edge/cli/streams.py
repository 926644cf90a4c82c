"""The three standard streams, each of which may be closed, full or no UTF-8."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Final, TextIO

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.files import FULL

MAX_STDIN: Final = 2**20  # bytes of a prompt, or of a line of a chat
READER_LEFT: Final = 141  # what a shell says of a program that SIGPIPE ended
BYTE_ORDER_MARK: Final = "\ufeff"
_shown: list[TextIO] = []  # streams that stand for standard error, the last one counts


class FullError(UsageError):
    """Standard output took not all that was to be printed."""


def stderr() -> TextIO | None:
    """Where our own lines go: standard error, or what stands for it; None where it is closed."""
    return _shown[-1] if _shown else sys.stderr


@contextlib.contextmanager
def stderr_is(stream: TextIO) -> Iterator[None]:
    """In the block our own lines go to `stream`. Libraries keep `sys.stderr`."""
    _shown.append(stream)
    try:
        yield
    finally:
        _shown.pop()


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is open and a terminal."""
    return stream is not None and stream.isatty()


def tell(text: str) -> None:
    """Print a line on standard error. There is no place to tell that this failed."""
    if (stream := stderr()) is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{text}\n")  # at once: others write too
            stream.flush()


@contextlib.contextmanager
def to_stdout() -> Iterator[None]:
    """The block writes to standard output. FullError: it cannot be written. A reader that left,
    such as `head`, ends the program as SIGPIPE would."""
    try:
        yield
    except BrokenPipeError:
        _drop_stdout()
        sys.exit(READER_LEFT)
    except OSError as error:
        if error.errno not in (*FULL, errno.EIO, errno.EBADF):
            raise
        _drop_stdout()
        raise FullError(
            f"standard output cannot be written ({os.strerror(error.errno or 0)}); free some space"
            " or choose another place"
        ) from error


def put(text: str) -> None:
    """Print a result on standard output, which may be closed. FullError: as `to_stdout`; the text
    is then told on standard error, so that it is not lost."""
    if sys.stdout is None:
        return
    try:
        with to_stdout():
            print(text, file=sys.stdout, flush=True)
    except FullError:
        tell(text)
        raise


def put_bytes(data: bytes, suffix: str) -> None:
    """Write an answer to standard output. FullError: as `to_stdout`; the answer is then in a new
    temporary file, which the error names."""
    try:
        with to_stdout():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except FullError as error:
        with tempfile.NamedTemporaryFile(
            prefix="nextomni-edge-", suffix=suffix, delete=False
        ) as file:
            file.write(data)
        raise FullError(f"{error}; the answer is in {file.name}") from error


def check_stdout() -> None:
    """UsageError, before long work: an answer is to go to a standard output that is closed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed; name a file with -o")


def _drop_stdout() -> None:
    """Let what is still buffered go nowhere: Python would try again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def read_stdin() -> str:
    """The whole of standard input as text. InputError: not UTF-8, or more than MAX_STDIN bytes.
    UsageError: it is closed."""
    return _text(_read(-1))


def stdin_lines() -> Iterator[str]:
    """Lines of standard input, without their ends. Errors as `read_stdin`'s."""
    while data := _read(MAX_STDIN + 1, line=True):
        yield _text(data)


def _read(most: int, line: bool = False) -> bytes:
    if sys.stdin is None:
        raise UsageError("standard input is closed; give the text itself, or open standard input")
    source = sys.stdin.buffer
    try:
        data = source.readline(most) if line else source.read(MAX_STDIN + 1)
    except OSError as error:
        raise InputError(f"standard input cannot be read ({error.strerror})") from error
    if len(data) > MAX_STDIN:
        what = "a line of standard input" if line else "standard input"
        raise InputError(f"{what}: more than {MAX_STDIN} bytes of text, the most that is read")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8").removeprefix(BYTE_ORDER_MARK).strip()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: not UTF-8 text ({error})") from error


def argument_text(value: str, name: str) -> str:
    """A text of the command line, which Python decodes by the locale: bytes that this did not
    understand are read as UTF-8, and a byte-order mark is dropped. UsageError: not UTF-8."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        try:
            value = os.fsencode(value).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: not UTF-8 text ({error})") from error
    return value.removeprefix(BYTE_ORDER_MARK)


def open_closed() -> None:
    """Open what is closed of descriptors 0 to 2 on the null device: the next file that is opened
    would take the number, and libraries would write their lines into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
