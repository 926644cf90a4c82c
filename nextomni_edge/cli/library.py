"""A library that only some commands need, and the line that tells how to get it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from nextomni_edge.errors import MissingRuntimeError


@contextlib.contextmanager
def needs_extra(extra: str, *libraries: str) -> Iterator[None]:
    """MissingRuntimeError before the block when a library is not installed, and when importing one
    fails inside it."""
    command = f"install with: pip install 'nextomni-edge[{extra}]'"
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise MissingRuntimeError(f"{library} is not installed; {command}")
    try:
        yield
    except ImportError as error:
        raise MissingRuntimeError(f"{error}; {command}") from error
