"""Who may ask: the key, the name under which the server is addressed, and the page that asks."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from nextomni_edge.serve.failures import Refusal

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Access:
    """key: what every request must present; None asks for none. origins: pages of other addresses
    that may ask. loopback: the server only listens on this machine."""

    key: str | None = None
    origins: tuple[str, ...] = ()
    loopback: bool = True


class Guard:
    """Refuses what may not ask, whatever the path: no route has an exception.

    401: no key, or another one. 403: a page of another origin, whose browser would send the key
    along. 421: a server on loopback that is addressed by another name, as DNS rebinding does.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            self._check_host(host)
            self._check_origin(headers, host)
            self._check_key(headers.get("authorization", ""))
        elif scope["type"] != "lifespan":
            raise Refusal(400, "only HTTP is spoken here")
        await self.app(scope, receive, send)

    def _check_host(self, host: str) -> None:
        if self.access.loopback and hostname(f"//{host}") not in LOOPBACK:
            raise Refusal(421, "this server only answers to localhost")

    def _check_origin(self, headers: Headers, host: str) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self.access.origins:
            return
        if not host or urlsplit_or_none(origin) != host.lower():
            raise Refusal(403, "pages of other origins may not ask; `--cors ORIGIN` allows one")

    def _check_key(self, authorization: str) -> None:
        key = self.access.key
        if key is None:
            return
        given = presented(authorization)
        if given is None:
            raise Refusal(401, "no API key; send the header Authorization: Bearer KEY", "no_key")
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise Refusal(401, "the API key is not the right one", "invalid_api_key")


def presented(authorization: str) -> str | None:
    """The key in a header: of Bearer, or the password of Basic, for which a browser asks."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
    except ValueError:  # no Base64, or no text
        return None


def hostname(address: str) -> str | None:
    """The host of a URL without its port."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def urlsplit_or_none(origin: str) -> str | None:
    """Host and port of an origin, in lower case."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
