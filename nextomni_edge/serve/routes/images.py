"""`/v1/images/generations` and `/v1/images/edits`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import JSONResponse, Response

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.model import Model
from nextomni_edge.api.settings import Request as Wanted
from nextomni_edge.api.settings import Settings
from nextomni_edge.errors import UsageError
from nextomni_edge.serve.encoded import base64_of, file_bytes
from nextomni_edge.serve.events import event, with_failure
from nextomni_edge.serve.jobs import Job
from nextomni_edge.serve.media import medium
from nextomni_edge.serve.schemas import ImageRequest
from nextomni_edge.serve.service import Service, event_stream, seeded, service_of
from nextomni_edge.tokens.chat import Part, Turn

router = APIRouter()
MOST_IMAGES = 8


@router.post("/v1/images/generations")
async def generations(request: Request, asked: ImageRequest) -> Response:
    """Draw a prompt. With `stream`, up to three pictures on the way are sent before the last."""
    service = service_of(request)
    model = service.models.named(asked.model).model
    wanted = Wanted.of("image", {**asked.settings(), **size_of(asked.size, model)})
    return await drawn(request, service, asked, [], wanted, "image_generation")


@router.post("/v1/images/edits")
async def edits(
    request: Request,
    prompt: Annotated[str, Form(max_length=1 << 20)],
    image: Annotated[list[UploadFile] | None, File()] = None,
    images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
    model: Annotated[str | None, Form()] = None,
    n: Annotated[int, Form(ge=1, le=128)] = 1,
    size: Annotated[str | None, Form(pattern=r"^(auto|[1-9]\d{0,3}x[1-9]\d{0,3})$")] = None,
    seed: Annotated[int | None, Form(ge=0, lt=2**64)] = None,
    steps: Annotated[int | None, Form(ge=0, lt=2**31)] = None,
    guidance: Annotated[float | None, Form(ge=0, le=1e6)] = None,
    guidance_image: Annotated[float | None, Form(ge=0, le=1e6)] = None,
    temperature: Annotated[float | None, Form(ge=0, le=1e6)] = None,
) -> Response:
    """Draw a prompt that begins with one picture or several."""
    service = service_of(request)
    await known_fields(request, edits_fields())
    given = [await each.read() for each in [*(image or ()), *(images or ())]]
    if not 1 <= len(given) <= MOST_IMAGES:
        raise UsageError(f"{len(given)} pictures in `image`, expected 1 to {MOST_IMAGES}")
    asked = ImageRequest(
        model=model, prompt=prompt or " ", n=n, size=size, seed=seed, steps=steps,
        guidance=guidance, guidance_image=guidance_image, temperature=temperature,
    )  # fmt: skip
    its = service.models.named(model).model
    wanted = Wanted.of("image", {**asked.settings(), **size_of(asked.size, its)})
    return await drawn(request, service, asked, given, wanted, "image_edit")


def edits_fields() -> set[str]:
    """The names of an edit's form."""
    own = {"image", "image[]", "prompt", "model", "n", "size", "seed", "steps", "guidance"}
    return own | {"guidance_image", "temperature", "user", "response_format", "quality"}


async def known_fields(request: Request, known: set[str]) -> None:
    """UsageError: a field of a form that does not exist, such as a mask, which no model here
    takes."""
    for name in (await request.form()).keys() - known:
        raise UsageError(f"no field {name[:80]!a} here; expected {', '.join(sorted(known))}")


def size_of(size: str | None, model: Model) -> Settings:
    """The setting for "512x512"; a model of one size takes that one only."""
    if size in (None, "auto"):
        return Settings()
    sides = [int(side) for side in str(size).split("x")]
    own = model.config.image.side
    if not model.config.shares_vocabulary and sides == [own, own]:
        return Settings()
    return Settings(size=sides)


async def drawn(
    request: Request,
    service: Service,
    asked: ImageRequest,
    given: list[bytes],
    wanted: Wanted,
    name: str,
) -> Response:
    """The pictures of a request, in the interface's form."""
    served = service.models.named(asked.model)

    def turns() -> list[Turn]:
        parts = [medium(served.model, "image", content, service.limits) for content in given]
        words = [Part("text", asked.prompt)] if asked.prompt.strip() else []
        if not parts + words:
            raise UsageError("an empty prompt: write what the model is to draw")
        return [Turn("user", (*parts, *words))]

    asks = seeded(wanted, asked.n, service.limits)
    jobs = await service.submit(request, served, turns, asks, asked.stream)
    if asked.stream:
        return event_stream(with_failure(events(service, asked, jobs, name), "error"), jobs)
    answers = await service.answers(request, jobs)
    pictures = [
        {"b64_json": await service.off_loop(picture, answer, asked.output_format)}
        for answer in answers
    ]
    return JSONResponse({"created": int(time.time()), "data": pictures, **common(asked)})


def picture(answer: Answer, form: str) -> str:
    return base64_of(file_bytes(answer, form))


def common(asked: ImageRequest) -> dict[str, Any]:
    """What every answer and event says about its pictures."""
    return {
        "output_format": asked.output_format,
        "background": "opaque",
        "quality": "auto",
        "size": "auto",
    }


async def events(
    service: Service, asked: ImageRequest, jobs: list[Job], name: str
) -> AsyncIterator[bytes]:
    """Pictures on the way, evenly spaced over the steps, and the finished ones."""
    for job in jobs:
        sent = 0
        async for step in job.steps():
            if step.number * (asked.partial_images + 1) < (sent + 1) * step.total:
                continue
            if sent < asked.partial_images:
                data = await service.off_loop(picture, step.answer, asked.output_format)
                yield moment(asked, f"{name}.partial_image", data, {"partial_image_index": sent})
                sent += 1
        data = await service.off_loop(picture, await job.answer(), asked.output_format)
        tokens = job.prompt_tokens
        usage = {
            "input_tokens": tokens,
            "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
            "output_tokens": 0,
            "total_tokens": tokens,
        }
        yield moment(asked, f"{name}.completed", data, {"usage": usage})


def moment(asked: ImageRequest, name: str, data: str, more: dict[str, Any]) -> bytes:
    return event(
        {"type": name, "b64_json": data, "created_at": int(time.time()), **common(asked), **more},
        name,
    )
