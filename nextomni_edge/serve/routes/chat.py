"""`/v1/chat/completions`: a conversation of any modalities, answered in those asked for."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.settings import Request as Wanted
from nextomni_edge.serve.encoded import answer_url, base64_of, file_bytes
from nextomni_edge.serve.events import DONE, comment, event, with_failure
from nextomni_edge.serve.jobs import Job
from nextomni_edge.serve.models import Served
from nextomni_edge.serve.prompts import turns_of
from nextomni_edge.serve.schemas import ChatRequest
from nextomni_edge.serve.service import Service, event_stream, seeded, service_of
from nextomni_edge.serve.voices import spoken
from nextomni_edge.tokens.chat import Kind

router = APIRouter()
SOUND_CHUNK = 48_000  # bytes of a sound in one event


@router.post("/v1/chat/completions")
async def chat(request: Request, asked: ChatRequest) -> Response:
    """Answer a conversation. With several modalities, each choice holds an answer of each."""
    service = service_of(request)
    served = service.models.named(asked.model)
    kinds: list[Kind] = list(dict.fromkeys(asked.modalities))
    turns = asked.messages
    voice = spoken(served.model.config, service.voices, asked.audio.voice)
    given = {**asked.settings(), **voice}
    wanted = [
        each
        for kind in kinds
        for each in seeded(Wanted.of(kind, given).fitting(kind), asked.n, service.limits)
    ]
    jobs = await service.submit(
        request, served, lambda: turns_of(served.model, turns, service.limits), wanted, asked.stream
    )
    reply = Reply(asked, served, jobs)
    if asked.stream:
        return event_stream(with_failure(reply.events(service)), jobs)
    answers = await service.answers(request, jobs)
    return JSONResponse(await service.off_loop(reply.whole, answers))


class Reply:
    """The answers of one request in the interface's form. jobs: `n` of the first modality, then
    `n` of the next."""

    def __init__(self, asked: ChatRequest, served: Served, jobs: list[Job]) -> None:
        self.asked, self.served, self.jobs = asked, served, jobs
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.most = asked.max_completion_tokens or asked.max_tokens

    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        """The body of a completion."""
        choices = []
        for index in range(self.asked.n):
            mine = range(index, len(self.jobs), self.asked.n)
            message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
            reasons = []
            for at in mine:
                delta, reason = self.delta(answers[at], self.jobs[at])
                message |= delta
                reasons.append(reason)
            reason = "length" if "length" in reasons else "stop"
            choices.append(
                {"index": index, "message": message, "finish_reason": reason, "logprobs": None}
            )
        body = self._head("chat.completion")
        return body | {"choices": choices, "usage": self.usage(answers), **self._own()}

    def delta(self, answer: Answer, job: Job) -> tuple[dict[str, Any], str]:
        """What an answer adds to a message, and why it ended."""
        reason = "length" if job.partial else "stop"
        if answer.modality == "text":
            text, cut = self.cut(answer.text)
            return {"content": text}, "length" if cut else reason
        if answer.modality == "audio":
            sound = base64_of(file_bytes(answer, self.asked.audio.format))
            return {"audio": self._sound(sound)}, reason
        kind = "image_url" if answer.modality == "image" else "video_url"
        return {f"{answer.modality}s": [{"type": kind, kind: {"url": answer_url(answer)}}]}, reason

    def cut(self, text: str) -> tuple[str, bool]:
        """A text of at most `max_tokens` tokens, and whether it was longer."""
        tokenizer = self.served.model.edge.tokenizer
        tokens = tokenizer.encode(text)
        if self.most is None or len(tokens) <= self.most:
            return text, False
        return tokenizer.decode(tokens[: self.most]), True

    def usage(self, answers: list[Answer]) -> dict[str, int]:
        """Tokens of the conversation and of the answers, padding included."""
        prompt = self.jobs[0].prompt_tokens
        made = sum(
            answer.tokens.shape[0] * (answer.tokens.shape[1] if answer.tokens.ndim > 2 else 1)
            for answer in answers
        )
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
        }

    async def events(self, service: Service) -> AsyncIterator[bytes]:
        """The chunks of a streamed completion. An answer of a flow changes everywhere until its
        last step, so its text is sent when it is finished: until then, comments tell the step. An
        autoregressive model's text is sent as it grows."""
        for index in range(self.asked.n):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        answers = []
        for at, job in enumerate(self.jobs):
            index, sent = at % self.asked.n, ""
            async for step in job.steps():
                if step.record is None or not self.served.model.config.causal:
                    yield comment(f"step {step.number} of {step.total}")
                elif fresh := grown(sent, self.cut(step.answer.text)[0]):
                    yield self._chunk(index, {"content": fresh})
                    sent += fresh
            answer = await job.answer()
            delta, reason = await service.off_loop(self.delta, answer, job)
            if "content" in delta:
                delta = {"content": delta["content"].removeprefix(sent)}
            for piece in pieces(delta):
                yield self._chunk(index, piece)
            if at + self.asked.n >= len(self.jobs):
                yield self._chunk(index, {}, reason)
            answers.append(answer)
        if self.asked.stream_options and self.asked.stream_options.include_usage:
            usage = {"choices": [], "usage": self.usage(answers)}
            yield event(self._head("chat.completion.chunk") | usage)
        yield DONE

    def _chunk(self, index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": reason, "logprobs": None}
        own = self._own() if reason else {}
        return event(self._head("chat.completion.chunk") | {"choices": [choice]} | own)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": self.served.model.identity[:16],
        }

    def _sound(self, data: str) -> dict[str, Any]:
        return {"id": f"audio-{self.id}", "data": data, "transcript": "", "expires_at": 0}

    def _own(self) -> dict[str, Any]:
        partial = any(job.partial for job in self.jobs)
        return {"nextomni": {"seeds": [job.seed for job in self.jobs], "partial": partial}}


def grown(sent: str, text: str) -> str:
    """What a text has more than was sent. Half a character, of which the rest is to come, is not
    sent."""
    whole = text.rstrip("\ufffd")
    return whole[len(sent) :] if whole.startswith(sent) else ""


def pieces(delta: dict[str, Any]) -> list[dict[str, Any]]:
    """A delta in events of bounded size: a long sound is cut."""
    sound = delta.get("audio")
    if sound is None:
        return [delta] if delta.get("content") != "" else []
    step = SOUND_CHUNK // 3 * 4  # whole bytes in each
    data = sound["data"]
    cuts = range(0, max(1, len(data)), step)
    return [{"audio": sound | {"data": data[at : at + step]}} for at in cuts]
