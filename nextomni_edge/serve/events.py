"""Server-sent events: bytes of one event, and what ends a stream that failed."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from nextomni_edge.serve.failures import body_of, status_of

log = logging.getLogger(__name__)
DONE: Final = b"data: [DONE]\n\n"


def event(data: object, name: str | None = None) -> bytes:
    """One event, with a name where the interface has names."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def comment(words: str) -> bytes:
    """A line that clients skip. It keeps a connection alive while an answer forms."""
    return f": {words}\n\n".encode()


async def with_failure(
    events: AsyncIterator[bytes], name: str | None = None
) -> AsyncIterator[bytes]:
    """The events; an error after the first byte is an event itself, since the status has gone."""
    try:
        async for each in events:
            yield each
    except Exception as error:
        if status_of(error) >= 500:
            log.error("stream failed", exc_info=error)
        failed: dict[str, Any] = body_of(error)
        yield event(failed, name)
