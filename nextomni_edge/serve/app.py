"""The application: routes, and the layers that every request passes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from nextomni_edge.errors import NextOmniError
from nextomni_edge.serve.body import BoundedBody
from nextomni_edge.serve.failures import ErrorBody, Refusal, invalid
from nextomni_edge.serve.guard import Access, Guard
from nextomni_edge.serve.record import Recorder, failure
from nextomni_edge.serve.routes import about, audio, chat, embeddings, generate, images
from nextomni_edge.serve.service import Service

STATUSES = (400, 401, 403, 404, 408, 413, 421, 422, 429, 500, 503)
ENDING_SECONDS = 5.0


def application(service: Service, access: Access) -> FastAPI:
    """The application over a service whose engine it starts and ends."""

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        yield
        service.engine.halt()
        service.engine.join(ENDING_SECONDS)

    responses: dict[int | str, dict[str, Any]] = {code: {"model": ErrorBody} for code in STATUSES}
    # FastAPI's pages of documentation load their scripts from elsewhere
    app = FastAPI(
        title="nextomni-edge",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        responses=responses,
    )
    app.state.service = service
    for each in (about, chat, generate, images, audio, embeddings):
        app.include_router(each.router)
    for kind in (NextOmniError, Refusal, MemoryError):
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(StarletteHTTPException, _unknown)
    app.add_exception_handler(RequestValidationError, _invalid)
    # the last that is added sees a request first
    app.add_middleware(BoundedBody, limits=service.limits)
    app.add_middleware(Guard, access=access)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Recorder, metrics=service.metrics)
    return app


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return failure(error)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    """What Starlette itself refuses: no such path, or a method that the path does not have."""
    assert isinstance(error, StarletteHTTPException)
    sentences = {
        404: f"no such address: {request.url.path[:200]!a}; see /openapi.json",
        405: f"{request.method} is not what this address takes; see /openapi.json",
    }
    said = HTTPException(error.status_code, sentences.get(error.status_code, error.detail))
    said.headers = error.headers
    return failure(said)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse(invalid(error), 400)
