"""What is to be computed, who waits for it, and the bounded queue in which clients take turns."""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from typing import Final

import anyio

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.model import Model
from nextomni_edge.api.settings import Request
from nextomni_edge.api.step import Generation, Step
from nextomni_edge.generate.batch import alike_key
from nextomni_edge.serve.failures import Refusal, busy, stopping
from nextomni_edge.tokens.chat import Turn

KEPT_STEPS: Final = 64  # steps that wait for a client that reads slowly; older ones are dropped


@dataclass(frozen=True)
class Asker:
    """Who waits for an answer, on which loop, and until when by the loop's clock."""

    client: str
    loop: asyncio.AbstractEventLoop
    deadline: float


class Job:
    """One answer to compute: a conversation, settings and a seed.

    key: jobs with the same key may share their forwards; without `together` no other job has it.
    watched: each step is shown to the client.
    left: nobody waits for it any more. partial: the answer was taken before its last step.

    The client waits on `loop`, until `deadline` of its clock; the engine's thread finishes the job.
    """

    def __init__(
        self,
        asker: Asker,
        model: Model,
        turns: list[Turn],
        request: Request,
        watched: bool = False,
        together: bool = True,
    ) -> None:
        self.client, self.model, self.turns, self.watched = asker.client, model, turns, watched
        self.seed = request.settings.get("seed", 0)
        # fails on what cannot be meant, before the job waits
        sequence = Generation(model.edge, [turns], request).sequences[0]
        if not model.config.causal:
            answered = sequence.segments[sequence.generated()[0]].modality
            request.options(model.config).check(model.config, answered)
        kept = {name: value for name, value in request.settings.items() if name != "seed"}
        self.request = request
        settings = json.dumps(kept, sort_keys=True)
        alone = None if together else object()  # equal to no other key, whoever is gone by then
        self.key: Hashable = (id(model), request.kind, settings, alike_key(sequence), alone)
        self.prompt_tokens = sequence.prompt_length
        self.left = self.partial = False
        self._loop, self._deadline = asker.loop, asker.deadline
        self._steps = collections.deque[Step](maxlen=KEPT_STEPS)
        self._news = asyncio.Event()
        self._outcome: Answer | BaseException | None = None

    def show(self, step: Step) -> None:
        """A step was taken. Called by the engine."""
        self._tell(lambda: self._steps.append(step))

    def finish(self, outcome: Answer | BaseException, partial: bool = False) -> None:
        """The answer is here, or an error. Called by the engine."""

        def end() -> None:
            self._outcome, self.partial = outcome, partial

        self._tell(end)

    def leave(self) -> None:
        """Nobody waits for it any more: the engine drops it."""
        self.left = True

    @property
    def finished(self) -> bool:
        """Whether the answer, or an error, is here."""
        return self._outcome is not None

    async def steps(self) -> AsyncIterator[Step]:
        """The steps as they are taken. Ends with the job."""
        while self._steps or self._outcome is None:
            if self._steps:
                yield self._steps.popleft()
            else:
                await self._hear()

    async def answer(self) -> Answer:
        """The answer, its media decoded. Raises what the computation raised."""
        while self._outcome is None:
            await self._hear()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    async def _hear(self) -> None:
        """Wait for news. Refusal: the deadline has passed."""
        try:
            with anyio.fail_after(self._deadline - self._loop.time()):
                await self._news.wait()
        except TimeoutError as error:
            self.leave()
            raise Refusal(503, "the answer took too long; ask for less, or later", "timeout") from (
                error
            )
        self._news.clear()

    def _tell(self, change: Callable[[], object]) -> None:
        def act() -> None:
            change()
            self._news.set()

        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:  # the loop has ended, and with it everybody who waited
            self.left = True


class FairQueue:
    """Jobs that wait, at most `most`, of one client at most half of them. Clients take turns,
    whatever each of them has waiting."""

    def __init__(self, most: int) -> None:
        self.most, self.share = most, max(1, most // 2)
        self._waiting: dict[str, collections.deque[Job]] = {}
        self._changed = threading.Condition()
        self.closed = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, jobs: list[Job]) -> None:
        """Let the jobs of one request wait, all or none. Refusal: 429 the queue or the client's
        share of it is full, 503 the server stops."""
        with self._changed:
            client = jobs[0].client
            held = len(self._waiting.get(client, ())) + len(jobs)
            if self.closed:
                raise stopping()
            if len(self) + len(jobs) > self.most:
                raise busy(f"{len(self)} answers wait and the queue takes {self.most}; ask later")
            if held > self.share:
                raise busy(f"one client may have {self.share} answers waiting; ask later")
            self._waiting.setdefault(client, collections.deque()).extend(jobs)
            self._changed.notify()

    def wait(self) -> bool:
        """Wait for a job. False: the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed)
            return bool(self._waiting)

    def take(self, most: int) -> list[Job]:
        """The job of the client whose turn it is, and others that may share its forwards."""
        with self._changed:
            if not self._waiting:
                return []
            first = next(iter(self._waiting.values()))[0]
            taken = [first]
            for jobs in self._waiting.values():
                same = (job for job in jobs if job.key == first.key and job is not first)
                taken += itertools.islice(same, most - len(taken))
            self._remove(taken)
            return taken

    def _remove(self, taken: list[Job]) -> None:
        """Take jobs out; a client that was served goes to the end of the row."""
        gone = set(map(id, taken))
        for client in dict.fromkeys(job.client for job in taken):
            rest = [job for job in self._waiting.pop(client) if id(job) not in gone]
            if rest:
                self._waiting[client] = collections.deque(rest)

    def close(self) -> None:
        """Take no more jobs."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def drop(self, error: Refusal) -> None:
        """Refuse all that wait."""
        with self._changed:
            jobs = [job for waiting in self._waiting.values() for job in waiting]
            self._waiting.clear()
        for job in jobs:
            job.finish(error)
