"""The libraries of an extra, and the line that says how to install them."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import sys
from collections.abc import Iterator
from typing import Final

from nextomni_edge.errors import MissingRuntimeError

SINCE: Final = {"export": (3, 11), "train": (3, 11)}  # Pythons; a device needs 3.10


@contextlib.contextmanager
def needs_extra(extra: str, *libraries: str) -> Iterator[None]:
    """MissingRuntimeError before the block where this Python is too old for the extra or a library
    is not installed, and where an import inside the block fails."""
    if sys.version_info < (since := SINCE.get(extra, (3, 10))):
        raise MissingRuntimeError(
            f"this needs Python {'.'.join(map(str, since))} or newer, and here is"
            f" {platform.python_version()}; a bundle that was made elsewhere runs here"
        )
    command = f"install with: pip install 'nextomni-edge[{extra}]'"
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise MissingRuntimeError(f"{library} is not installed; {command}")
    try:
        yield
    except ImportError as error:
        raise MissingRuntimeError(f"{error}; {command}") from error
