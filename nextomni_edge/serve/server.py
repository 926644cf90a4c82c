"""The running server: uvicorn with bounded connections and a stop that finishes what is begun."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import uvicorn

from nextomni_edge.errors import UsageError
from nextomni_edge.serve.app import application
from nextomni_edge.serve.connection import bounded
from nextomni_edge.serve.engine import Engine
from nextomni_edge.serve.guard import Access
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.metrics import Metrics
from nextomni_edge.serve.models import Models, Served
from nextomni_edge.serve.service import Service
from nextomni_edge.serve.voices import Clip

KEEP_ALIVE = 15  # seconds that an idle connection is kept


class Server(uvicorn.Server):
    """Ends in two stages: it takes no more requests and finishes those that are here, and after
    `grace` seconds answers what is left as it stands."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn after a signal."""
        engine = self.service.engine
        engine.drain()
        clock = asyncio.get_running_loop().call_later(self.service.limits.grace, engine.halt)
        await super().shutdown(sockets)
        clock.cancel()


def service_over(
    served: list[Served], limits: Limits, voices: Mapping[str, Clip] = MappingProxyType({})
) -> Service:
    """The parts of a server over these models, which says texts in these voices."""
    metrics = Metrics()
    return Service(Models(served), limits, metrics, Engine(limits, metrics), voices)


def listening(host: str, port: int) -> socket.socket:
    """A socket that is bound. UsageError: the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}; name another --port") from error


def server_of(service: Service, access: Access) -> Server:
    """A server that is ready to run. It speaks HTTP/1.1."""
    settings: dict[str, Any] = {
        "http": bounded(service.limits),
        "ws": "none",
        "lifespan": "on",
        "loop": "asyncio",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE,
        "limit_concurrency": service.limits.connections,
        "h11_max_incomplete_event_size": 1 << 16,
        "timeout_graceful_shutdown": int(service.limits.grace) + KEEP_ALIVE,
    }
    app = application(service, access)
    return Server(uvicorn.Config(app, **settings), service)


def run(server: Server, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which uvicorn raises again when it has ended."""
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.run(sockets=[listener])
