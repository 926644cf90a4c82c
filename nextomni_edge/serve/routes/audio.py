"""`/v1/audio/speech` and `/v1/audio/transcriptions`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from nextomni_edge.api.settings import Request as Wanted
from nextomni_edge.api.settings import Settings
from nextomni_edge.serve.encoded import TYPES, file_bytes
from nextomni_edge.serve.events import event, with_failure
from nextomni_edge.serve.jobs import Job
from nextomni_edge.serve.media import medium
from nextomni_edge.serve.routes.images import known_fields
from nextomni_edge.serve.schemas import SpeechRequest
from nextomni_edge.serve.service import event_stream, service_of
from nextomni_edge.serve.voices import spoken
from nextomni_edge.tokens.chat import Part, Turn

router = APIRouter()
CHUNK = 1 << 14  # bytes of a sound that are sent at once


@router.post("/v1/audio/speech", response_class=Response)
async def speech(request: Request, asked: SpeechRequest) -> Response:
    """Say a text. The sound is sent in chunks once it is finished."""
    service = service_of(request)
    served = service.models.named(asked.model)
    own = spoken(
        served.model.config, service.voices, asked.voice, asked.speed, asked.language,
        asked.instructions,
    )  # fmt: skip
    jobs = await service.submit(
        request,
        served,
        lambda: [Turn("user", (Part("text", asked.input),))],
        [Wanted.of("audio", {**asked.settings(), **own})],
    )
    (answer,) = await service.answers(request, jobs)
    content = await service.off_loop(file_bytes, answer, asked.response_format)
    return StreamingResponse(chunks(content), media_type=TYPES[asked.response_format])


def chunks(content: bytes) -> Iterator[bytes]:
    """The bytes in pieces, which HTTP sends as chunks."""
    yield from (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))


FIELDS = {
    "file", "model", "prompt", "language", "response_format", "temperature", "seed", "steps",
    "max_blocks", "stream",
}  # fmt: skip


@router.post("/v1/audio/transcriptions")
async def transcriptions(
    request: Request,
    file: Annotated[UploadFile, File()],
    model: Annotated[str | None, Form()] = None,
    prompt: Annotated[str | None, Form(max_length=1 << 20)] = None,
    language: Annotated[str | None, Form(max_length=64)] = None,
    response_format: Annotated[Literal["json", "text"], Form()] = "json",
    temperature: Annotated[float | None, Form(ge=0, le=1e6)] = None,
    seed: Annotated[int | None, Form(ge=0, lt=2**64)] = None,
    steps: Annotated[int | None, Form(ge=0, lt=2**31)] = None,
    max_blocks: Annotated[int | None, Form(ge=0, lt=2**31)] = None,
    stream: Annotated[bool, Form()] = False,
) -> Response:
    """Answer a sound, and a prompt if there is one, in text. `language` is the model's own."""
    service = service_of(request)
    await known_fields(request, FIELDS)
    served = service.models.named(model)
    content, name = await file.read(), file.filename or ""

    def turns() -> list[Turn]:
        heard = medium(served.model, "audio", content, service.limits, name.rpartition(".")[2])
        words = (Part("text", prompt),) if prompt and prompt.strip() else ()
        return [Turn("user", (heard, *words))]

    given = {
        "temperature": temperature,
        "seed": seed,
        "steps": steps,
        "max_blocks": max_blocks,
    }
    settings = Settings(**{key: value for key, value in given.items() if value is not None})  # type: ignore[typeddict-item]
    jobs = await service.submit(request, served, turns, [Wanted.of("text", settings)])
    if stream:
        return event_stream(with_failure(events(jobs[0])), jobs)
    (answer,) = await service.answers(request, jobs)
    if response_format == "text":
        return PlainTextResponse(f"{answer.text}\n")
    return JSONResponse({"text": answer.text})


async def events(job: Job) -> AsyncIterator[bytes]:
    """The text, which a flow finishes as a whole."""
    answer = await job.answer()
    yield event({"type": "transcript.text.delta", "delta": answer.text})
    yield event({"type": "transcript.text.done", "text": answer.text})
