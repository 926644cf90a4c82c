"""What every route uses: the models, the engine, and how a request waits for its answers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio.to_thread
from fastapi import Request
from starlette.responses import StreamingResponse

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.settings import Request as Wanted
from nextomni_edge.errors import UsageError
from nextomni_edge.serve.engine import Engine
from nextomni_edge.serve.failures import Refusal, busy
from nextomni_edge.serve.jobs import Asker, Job
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.metrics import Metrics
from nextomni_edge.serve.models import Models, Served
from nextomni_edge.serve.voices import Clip
from nextomni_edge.tokens.chat import Turn

Result = TypeVar("Result")
PREPARING = 2  # threads that encode media, and decode previews


@dataclass
class Service:
    """One server's parts. voices: the clips that speech may name. preparing: requests whose media
    are being encoded, or wait for it."""

    models: Models
    limits: Limits
    metrics: Metrics
    engine: Engine
    voices: Mapping[str, Clip] = field(default_factory=dict)
    preparing: int = 0
    threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(PREPARING))

    async def off_loop(self, work: Callable[..., Result], *given: Any) -> Result:
        """Run work that takes time in one of a few threads. Refusal: 429, too many wait."""
        if self.preparing >= self.limits.queue:
            raise busy(f"{self.preparing} requests are being read; ask later")
        self.preparing += 1
        try:
            return await anyio.to_thread.run_sync(
                functools.partial(work, *given), limiter=self.threads
            )
        finally:
            self.preparing -= 1

    async def submit(
        self,
        request: Request,
        served: Served,
        turns: Callable[[], list[Turn]],
        wanted: Iterable[Wanted],
        watched: bool = False,
    ) -> list[Job]:
        """Encode a conversation once and let its answers wait for the engine. Errors: those of the
        conversation and of the settings, and Refusal where the queue is full."""
        asks = list(wanted)
        for each in asks:
            self.limits.check(each.settings)
        loop = asyncio.get_running_loop()
        client = request.client.host if request.client else ""
        asker = Asker(client, loop, loop.time() + self.limits.request)

        def made() -> list[Job]:
            said = turns()
            return [Job(asker, served.model, said, each, watched, served.together) for each in asks]

        jobs = await self.off_loop(made)
        self.engine.queue.put(jobs)
        return jobs

    async def answers(self, request: Request, jobs: list[Job]) -> list[Answer]:
        """The jobs' answers; the computation stops where the client leaves."""
        gone = asyncio.create_task(left(request, jobs))
        try:
            return list(await asyncio.gather(*(job.answer() for job in jobs)))
        finally:
            gone.cancel()
            leave(jobs)


async def left(request: Request, jobs: list[Job]) -> None:
    """Leave the jobs when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    leave(jobs)
    for job in jobs:
        job.finish(Refusal(499, "the client has left"))


def leave(jobs: list[Job]) -> None:
    """Nobody waits for these jobs any more."""
    for job in jobs:
        job.leave()


def service_of(request: Request) -> Service:
    """The server's parts."""
    service: Service = request.app.state.service
    return service


def seeded(wanted: Wanted, count: int, limits: Limits) -> list[Wanted]:
    """`count` times the request, each with its own seed: the given one and those that follow.
    UsageError: more than a request may ask for."""
    if count > limits.answers:
        raise UsageError(f"n is {count}; this server takes at most {limits.answers}")
    first = wanted.settings.get("seed", 0)
    if count == 1:
        return [wanted]
    return [wanted.with_settings({"seed": (first + i) % 2**64}) for i in range(count)]


def event_stream(events: AsyncIterator[bytes], jobs: list[Job]) -> StreamingResponse:
    """Server-sent events. Where the client leaves, the jobs are left."""

    async def guarded() -> AsyncIterator[bytes]:
        try:
            async with contextlib.aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    yield event
        finally:
            leave(jobs)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(guarded(), media_type="text/event-stream", headers=headers)
