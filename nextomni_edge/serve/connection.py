"""Bounds on a socket: how long its first lines may take, and how long a client may leave unread
what was sent to it."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from nextomni_edge.serve.limits import Limits


class Connection(H11Protocol):
    """uvicorn's connection with two clocks. `limits` is set by `bounded`."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for clock in (self._head, self._unread):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head is None and not self._answering:
            self._await_head()
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.limits.header_seconds, self._late)

    def _late(self) -> None:
        """The first lines should be here by now; between requests, uvicorn has its own clock."""
        self._head = None
        waits_between = self.cycle is not None and self.timeout_keep_alive_task is not None
        if not self._answering and not waits_between:
            self.transport.abort()


def bounded(limits: Limits) -> type[Any]:
    """The class of connections with these limits."""
    return type("BoundedConnection", (Connection,), {"limits": limits})
