"""Who may ask: no route answers without the key, and no page of another origin may ask."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import fastapi.routing
import pytest

import nextomni_edge as ne
from nextomni_edge.serve.app import application
from nextomni_edge.serve.guard import Access, presented
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.models import Served
from nextomni_edge.serve.server import service_over
from tests.calls import Invoke
from tests.serve.running import KEY

GUARDED = {
    "GET /", "GET /health", "GET /metrics", "GET /openapi.json", "GET /v1/models",
    "GET /v1/models/{name}", "POST /v1/audio/speech", "POST /v1/audio/transcriptions",
    "POST /v1/chat/completions", "POST /v1/embeddings", "POST /v1/generate",
    "POST /v1/images/edits", "POST /v1/images/generations",
}  # fmt: skip


def app(model: ne.Model, access: Access) -> Any:
    return application(service_over([Served("tiny", model)], Limits()), access)


def ask(app: Any, method: str, path: str, **headers: str) -> int:
    """The status of a request whose body is empty, without a socket."""
    sent = {"host": "localhost:8000", **{key.replace("_", "-"): v for key, v in headers.items()}}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http",
        "query_string": b"", "client": ("10.0.0.9", 1), "server": ("localhost", 8000),
        "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
    }  # fmt: skip
    seen: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    asyncio.run(app(scope, receive, send))
    return seen[0]


def test_the_list_of_routes_is_the_list_of_guarded_ones(model: ne.Model) -> None:
    made = app(model, Access(KEY, loopback=False))
    flat = getattr(fastapi.routing, "iter_route_contexts", iter)  # later releases nest routers
    found = {
        f"{method} {route.path}"
        for route in flat(made.routes)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert found == GUARDED
    for each in GUARDED:
        method, path = each.split()
        assert ask(made, method, path) == 401, each
        assert ask(made, method, path, authorization="Bearer another-key-than-it") == 401, each
        assert ask(made, method, path, authorization=f"Bearer {KEY}") != 401, each


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/docs", "/static/../v1/models", "//v1/models", "/%2e%2e"])
def test_no_other_path_and_no_method_answers_without_the_key(
    model: ne.Model, method: str, path: str
) -> None:
    assert ask(app(model, Access(KEY, loopback=False)), method, path) == 401


def test_a_browser_gives_the_key_as_a_password(model: ne.Model) -> None:
    basic = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    made = app(model, Access(KEY, loopback=False))
    assert ask(made, "GET", "/health", authorization=f"Basic {basic}") == 200
    assert presented(f"Basic {basic}") == KEY and presented("Basic é") is None
    for empty in ("", "Bearer", "Bearer ", "Basic ", "Digest a", "Basic YQ=="):
        assert presented(empty) is None


def test_a_page_of_another_origin_may_not_ask(model: ne.Model) -> None:
    made = app(model, Access(KEY, loopback=False))
    key = f"Bearer {KEY}"
    assert ask(made, "GET", "/health", authorization=key, origin="https://evil.example") == 403
    assert ask(made, "GET", "/health", authorization=key, origin="null") == 403
    assert ask(made, "GET", "/health", authorization=key, origin="http://localhost:8000") == 200
    named = app(model, Access(KEY, ("https://good.example",), loopback=False))
    assert ask(named, "GET", "/health", authorization=key, origin="https://good.example") == 200
    preflight = {"origin": "https://good.example", "access_control_request_method": "POST"}
    assert ask(named, "OPTIONS", "/v1/generate", **preflight) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "[::1", "127.0.0.2"])
def test_a_server_on_loopback_answers_to_its_own_names_only(model: ne.Model, host: str) -> None:
    assert ask(app(model, Access()), "GET", "/health", host=host) == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
def test_a_server_on_loopback_needs_no_key(model: ne.Model, host: str) -> None:
    assert ask(app(model, Access()), "GET", "/health", host=host) == 200


def test_another_host_needs_a_key_or_the_word_that_it_has_none(
    invoke: Invoke, tiny_bundle: Path, tmp_path: Path
) -> None:
    refused = invoke("serve", tiny_bundle, "--host", "0.0.0.0", "--check")
    assert refused.exit_code == 2 and "give --api-key, or say --no-auth" in refused.stderr
    secret = tmp_path / "key"
    secret.write_text(f"{KEY}\n")
    for more in (["--no-auth"], ["--api-key", KEY], ["--api-key", f"@{secret}"]):
        served = invoke("serve", f"t={tiny_bundle}", "--host", "0.0.0.0", "--check", *more)
        assert (served.exit_code, served.stdout) == (0, "fine: t\n")


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--api-key", "short"], "expected 16 or more printable ASCII characters", 2),
        (["--api-key", "@/none"], "/none: no key can be read", 3),
        (["again={bundle}", "again={bundle}"], "two bundles have one name", 2),
        (["a b={bundle}"], "'a b': expected a name of letters", 2),
        (["/none"], "/none: no such directory", 3),
    ],
)
def test_what_cannot_be_served_is_one_line(
    invoke: Invoke, tiny_bundle: Path, arguments: list[str], sentence: str, code: int
) -> None:
    words = [word.format(bundle=tiny_bundle) for word in arguments]
    bundle = [tiny_bundle] if words[0].startswith("--") else []
    ended = invoke("serve", *bundle, *words, "--check")
    assert ended.exit_code == code and sentence in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(invoke: Invoke, tiny_bundle: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = invoke("serve", tiny_bundle, "--port", taken.getsockname()[1])
    assert ended.exit_code == 2 and "name another --port" in ended.stderr
