"""The libraries of an extra, and the line that says how to install them."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from nextomni_edge.errors import MissingRuntimeError


@contextlib.contextmanager
def needs_extra(extra: str, *libraries: str) -> Iterator[None]:
    """MissingRuntimeError before the block where a library is not installed, and where an import
    inside the block fails."""
    command = f"install with: pip install 'nextomni-edge[{extra}]'"
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise MissingRuntimeError(f"{library} is not installed; {command}")
    try:
        yield
    except ImportError as error:
        raise MissingRuntimeError(f"{error}; {command}") from error
