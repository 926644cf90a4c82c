"""The outermost layer: each request has an id, a line in the log, a place in the metrics, and an
answer in the interface's form even where it fails before a route."""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from datetime import datetime, timezone
from typing import Any, TextIO

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextomni_edge.serve.failures import body_of, status_of
from nextomni_edge.serve.metrics import Metrics

log = logging.getLogger(__name__)
EXTRA = ("id", "client", "method", "route", "status", "seconds")


class Recorder:
    """Logs what was asked and how it ended, never what was said."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, name = time.perf_counter(), 0, uuid.uuid4().hex

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if status_of(error) >= 500:
                log.error("request failed", exc_info=error, extra={"id": name})
            if not status:
                await failure(error)(scope, receive, noted)
        finally:
            self._note(scope, name, status, time.perf_counter() - began)

    def _note(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        # a path that no route has is a stranger's word, and would be a new counter each
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.latency.labels(route).observe(seconds)
        client = (scope.get("client") or ("",))[0]
        fields = (name, client, scope["method"], route, status, round(seconds, 4))
        log.info("request", extra=dict(zip(EXTRA, fields, strict=True)))


def failure(error: BaseException) -> JSONResponse:
    """The answer to a request that failed."""
    headers = dict(getattr(error, "headers", None) or {})
    status = status_of(error)
    if status == 401:  # a browser then asks for the key, which is the password
        headers["WWW-Authenticate"] = 'Basic realm="nextomni-edge", charset="UTF-8"'
    return JSONResponse(body_of(error), status, headers)


class Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """A record with its time, level and what the call added."""
        data: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        data |= {key: getattr(record, key) for key in EXTRA if hasattr(record, key)}
        if record.exc_info:
            data["traceback"] = self.formatException(record.exc_info)
        return json.dumps(data)


def log_lines(level: int, stream: TextIO | None = None) -> None:
    """Send the log of this package and of uvicorn to `stream`, by default stderr, one JSON object
    a line."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines())
    for name in ("nextomni_edge.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name.startswith("next") else max(level, logging.WARNING))
