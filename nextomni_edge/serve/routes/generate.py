"""`/v1/generate`: our own form, which shows the flow: x_t of every step as an event."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.settings import Request as Wanted
from nextomni_edge.api.step import Step
from nextomni_edge.errors import UsageError
from nextomni_edge.serve.encoded import answer_url
from nextomni_edge.serve.events import event, with_failure
from nextomni_edge.serve.jobs import Job
from nextomni_edge.serve.models import Served
from nextomni_edge.serve.prompts import turns_of
from nextomni_edge.serve.schemas import GenerateRequest, Message
from nextomni_edge.serve.service import Service, event_stream, service_of

router = APIRouter()
LATE_PREVIEWS = 4


@router.post("/v1/generate")
async def generate(request: Request, asked: GenerateRequest) -> Response:
    """Answer a prompt, or a conversation. With `stream`, events `step` hold x_t before each step,
    and the event `answer` what it became."""
    service = service_of(request)
    served = service.models.named(asked.model)
    messages = messages_of(asked)
    jobs = await service.submit(
        request,
        served,
        lambda: turns_of(served.model, messages, service.limits),
        [Wanted.of(asked.to, asked.settings())],
        asked.stream,
    )
    if asked.stream:
        return event_stream(
            with_failure(events(service, served, jobs[0], asked.preview), "error"), jobs
        )
    (answer,) = await service.answers(request, jobs)
    return JSONResponse(await service.off_loop(described, served, jobs[0], answer))


def messages_of(asked: GenerateRequest) -> list[Message]:
    """UsageError: neither a prompt nor messages, or both."""
    if (asked.prompt is None) == (asked.messages is None):
        raise UsageError("give either a prompt or messages")
    return asked.messages or [Message(role="user", content=asked.prompt)]


def shown(answer: Answer) -> dict[str, Any]:
    """The answer as a text or a data URL."""
    return {"text": answer.text} if answer.modality == "text" else {"data": answer_url(answer)}


def described(served: Served, job: Job, answer: Answer) -> dict[str, Any]:
    """The finished answer with its tokens and what it cost."""
    return {
        "id": f"gen-{uuid.uuid4().hex}",
        "model": served.name,
        "modality": answer.modality,
        "seed": job.seed,
        "partial": job.partial,
        "tokens": answer.tokens.tolist(),
        "cost": {"forwards": answer.meter.forwards, "requests": answer.meter.requests},
        **shown(answer),
    }


async def events(service: Service, served: Served, job: Job, preview: bool) -> AsyncIterator[bytes]:
    """The flow's events. x_t of a text is also shown as text, which costs nothing. Once the answer
    is here, previews of the steps that were not sent yet would only delay it: few are made."""
    async for step in job.steps():
        data = moment(step)
        if step.answer.modality == "text":
            data["text"] = step.answer.text
        elif preview and (not job.finished or step.number % LATE_PREVIEWS == 0):
            data |= await service.off_loop(shown, step.answer)
        yield event(data, "step")
    answer = await job.answer()
    yield event(await service.off_loop(described, served, job, answer), "answer")


def moment(step: Step) -> dict[str, Any]:
    """x_t before step `number` of `total`, at time t of the flow."""
    return {
        "step": step.number,
        "total": step.total,
        "t": round(step.t, 6),
        "tokens": step.answer.tokens.tolist(),
    }
