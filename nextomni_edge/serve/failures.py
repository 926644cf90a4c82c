"""What went wrong, in the form of OpenAI's interface: one sentence with the fitting status."""

from __future__ import annotations

from typing import Any, Final

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from nextomni_edge.errors import (
    InputError,
    MissingRuntimeError,
    NextOmniError,
    UsageError,
)

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OURS: Final = "a fault of the server; its log says more under this request's id"


class Refusal(HTTPException):
    """A request that is refused, with its status, one sentence, and a word for programs."""

    def __init__(
        self, status: int, message: str, code: str | None = None, retry_after: int | None = None
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status in (408, 413):  # the rest of the body is not read
            headers["Connection"] = "close"
        super().__init__(status, message, headers)
        self.code = code

    def __str__(self) -> str:
        return str(self.detail)


class Fault(BaseModel):
    """What `error` holds."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer with a status from 400 on."""

    error: Fault


def busy(message: str) -> Refusal:
    """The queue is full, or this client's share of it."""
    return Refusal(429, message, "queue_full", retry_after=1)


def stopping() -> Refusal:
    """The server ends."""
    return Refusal(503, "the server is stopping; ask again when it is back", "stopping", 5)


def status_of(error: BaseException) -> int:
    """The HTTP status of an exception."""
    if isinstance(error, HTTPException):
        return error.status_code
    statuses = {UsageError: 400, InputError: 422, MissingRuntimeError: 503}
    return next((code for kind, code in statuses.items() if isinstance(error, kind)), 500)


def sentence_of(error: BaseException) -> str:
    """One line for a person. A fault of the program is not described to strangers."""
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, MemoryError):
        return "not enough memory; ask for less"
    return " ".join(str(error).split())[:1000] if isinstance(error, NextOmniError) else OURS


def body_of(error: BaseException, param: str | None = None) -> dict[str, Any]:
    """The JSON body of an exception."""
    status = status_of(error)
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = error.code if isinstance(error, Refusal) else None
    fault = Fault(message=sentence_of(error), type=kind, param=param, code=code)
    return ErrorBody(error=fault).model_dump()


def invalid(error: RequestValidationError) -> dict[str, Any]:
    """The body for a request that does not fit its schema: the first fault that was found."""
    fault = error.errors()[0]
    place = [str(step) for step in fault["loc"] if step != "body"]
    where = ".".join(place)
    message = str(fault["msg"]).removeprefix("Value error, ")
    return body_of(Refusal(400, f"{where}: {message}" if where else message), where or None)
