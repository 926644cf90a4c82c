"""The models, the server's health and metrics, and the page."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, JSONResponse, Response

from nextomni_edge.serve.models import Served
from nextomni_edge.serve.service import Service, service_of

router = APIRouter()
# the page brings all that it needs, and reaches nothing but its own server
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self';"
    " img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


@router.get("/", response_class=HTMLResponse)
async def page(request: Request) -> Response:
    """A page to play with."""
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(page_text(), headers=headers)


@functools.cache
def page_text() -> str:
    """The page, one file."""
    return (resources.files("nextomni_edge.serve") / "page.html").read_text(encoding="utf-8")


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether the server takes requests, and how many answers wait."""
    service = service_of(request)
    taking = service.engine.taking
    body = {
        "status": "ok" if taking else "stopping",
        "models": list(service.models.by_name),
        "waiting": len(service.engine.queue),
    }
    return JSONResponse(body, 200 if taking else 503)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The served models, each with its card under `nextomni`."""
    service = service_of(request)
    every = service.models.by_name.values()
    data = [await service.off_loop(described, service, each) for each in every]
    return JSONResponse({"object": "list", "data": data})


@router.get("/v1/models/{name}")
async def model(request: Request, name: str) -> Response:
    """One model."""
    service = service_of(request)
    return JSONResponse(await service.off_loop(described, service, service.models.named(name)))


def described(service: Service, served: Served) -> dict[str, Any]:
    """A model in the interface's form, and what a forward of it took when it was last used."""
    own = {
        "forward_seconds": service.metrics.step_seconds,
        "limits": {"steps": service.limits.steps, "media": service.limits.media},
    }
    return {
        "id": served.name,
        "object": "model",
        "created": served.loaded,
        "owned_by": "nextomni-edge",
        "nextomni": served.card() | own,
    }
