"""Bounds on a request's body: its bytes, and how long it may take to arrive."""

from __future__ import annotations

import time

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextomni_edge.serve.failures import Refusal
from nextomni_edge.serve.limits import MIB, Limits


def announced(scope: Scope) -> int:
    """The body's length, as its header says. 0: none."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


class BoundedBody:
    """Refuses a body with 413 before it is read where its header says that it is too long, else as
    soon as it is. Refuses with 408 one that does not arrive."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if announced(scope) > self.limits.body:
            raise self._too_long()
        deadline, got, ended = time.monotonic() + self.limits.body_seconds, 0, False

        async def bounded() -> Message:
            nonlocal got, ended
            if ended:  # what comes after the body is the client's leaving
                return await receive()
            try:
                with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError as error:
                seconds = self.limits.body_seconds
                raise Refusal(408, f"the body did not arrive within {seconds:g} s") from error
            got += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if got > self.limits.body:
                raise self._too_long()
            return message

        await self.app(scope, bounded, send)

    def _too_long(self) -> Refusal:
        return Refusal(413, f"the body is over {self.limits.body / MIB:.3g} MiB; send less")
