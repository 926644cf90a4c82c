"""The queue and the engine: what arrives together is computed together, each answer is its own, and
clients take turns."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st

import nextomni_edge as ne
from nextomni_edge.api.answer import Answer
from nextomni_edge.api.settings import Request
from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.manifest import Decision
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.serve.engine import Engine
from nextomni_edge.serve.events import with_failure
from nextomni_edge.serve.failures import Refusal
from nextomni_edge.serve.jobs import Asker, FairQueue, Job
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.metrics import Metrics
from nextomni_edge.serve.models import Served
from nextomni_edge.tokens.chat import Kind, Part, Turn

SECONDS = 60.0
Scheme = Literal["per_token", "per_tensor", "static"]
ARRIVALS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=40)


def job(
    model: ne.Model, words: str = "a cat", to: Kind = "text", client: str = "a", **given: Any
) -> Job:
    loop = asyncio.get_running_loop()
    asker = Asker(client, loop, loop.time() + given.pop("wait", SECONDS))
    turns = [Turn("user", (Part("text", words),))]
    together = given.pop("together", True)
    return Job(asker, model, turns, Request.of(to, given), watched=True, together=together)


@pytest.mark.parametrize(
    ("scheme", "together"), [("per_token", True), ("static", True), ("per_tensor", False)]
)
def test_requests_share_no_forward_where_a_layer_rounds_all_rows_by_one_scale(
    model: ne.Model, monkeypatch: pytest.MonkeyPatch, scheme: Scheme, together: bool
) -> None:
    opened = Bundle.open(model.path, verify_hashes=False)
    opened.manifest.components["backbone"].quantisation["w"] = Decision(scheme, "matmul", 8)
    monkeypatch.setattr(Bundle, "open", lambda *_, **__: opened)
    served = Served("m", model)
    assert served.together is together

    async def keys() -> set[Hashable]:
        return {job(model, together=served.together).key for _ in range(3)}

    assert len(asyncio.run(keys())) == (1 if together else 3)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(replace(Limits(), linger=0.05), Metrics())
    yield made
    made.halt()
    made.join(SECONDS)


def batches(engine: Engine) -> float:
    """How many batches were computed."""
    (metric,) = engine.metrics.batch.collect()
    return next(each.value for each in metric.samples if each.name.endswith("_count"))


@pytest.mark.parametrize("kind", ["text", "image", "audio", "video"])
def test_answers_of_a_batch_are_those_of_each_by_itself(
    model: ne.Model, engine: Engine, kind: Kind
) -> None:
    words = ["a dog", "a god", "a gdo", "a dgo", "a dog"]  # of as many tokens
    own = {"audio": {"seconds": 0.2}, "video": {"frames": 2}}.get(kind, {})

    async def together() -> list[Answer]:
        jobs = [job(model, each, kind, str(i), seed=i, **own) for i, each in enumerate(words)]
        engine.queue.put(jobs[:1])
        for each in jobs[1:]:
            engine.queue.put([each])
        engine.start()
        return [await each.answer() for each in jobs]

    answers = asyncio.run(together())
    assert batches(engine) == 1
    for seed, (prompt, answer) in enumerate(zip(words, answers, strict=True)):
        alone = model.generate(prompt, to=kind, seed=seed, **own)  # type: ignore[misc]
        assert np.array_equal(answer.tokens, alone.tokens)
        assert kind == "text" or np.array_equal(answer.media, alone.media)


def test_other_settings_and_lengths_are_computed_apart(model: ne.Model, engine: Engine) -> None:
    async def apart() -> None:
        jobs = [
            job(model),
            job(model, steps=3),
            job(model, "a longer prompt"),
            job(model, guidance=1.0),
        ]
        for each in jobs:
            engine.queue.put([each])
        engine.start()
        assert [(await each.answer()).text for each in jobs] == [
            model.generate("a cat").text, model.generate("a cat", steps=3).text,
            model.generate("a longer prompt").text, model.generate("a cat", guidance=1.0).text,
        ]  # fmt: skip

    asyncio.run(apart())
    assert batches(engine) == 4


def test_every_step_is_told_to_who_watches(model: ne.Model, engine: Engine) -> None:
    async def watched() -> tuple[list[Any], Answer]:
        one = job(model, to="image", steps=6, seed=2)
        engine.queue.put([one])
        engine.start()
        return [step async for step in one.steps()], await one.answer()

    steps, answer = asyncio.run(watched())
    expected = list(model.stream("a cat", to="image", steps=6, seed=2))
    assert [step.number for step in steps] == [step.number for step in expected[:-1]]
    for step, other in zip(steps, expected, strict=False):
        assert np.array_equal(step.answer.tokens, other.answer.tokens)
    assert np.array_equal(answer.tokens, expected[-1].answer.tokens)


def test_one_that_fails_takes_no_other_with_it(
    model: ne.Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = EdgeModel.decode
    broken = model.generate("a dog", to="image", seed=1).tokens

    def breaks(self: EdgeModel, modality: str, codes: Any) -> Any:
        if np.array_equal(codes, broken):
            raise NonFiniteError("image_decoder: NaN")
        return decode(self, modality, codes)

    monkeypatch.setattr(EdgeModel, "decode", breaks)

    async def mixed() -> None:
        good, bad = job(model, to="image"), job(model, "a dog", "image", seed=1)
        engine.queue.put([good])
        engine.queue.put([bad])
        engine.start()
        assert (await good.answer()).image.size == (16, 16)
        with pytest.raises(NonFiniteError):
            await bad.answer()

    asyncio.run(mixed())


def test_who_leaves_stops_the_computation(model: ne.Model, engine: Engine) -> None:
    async def leaves() -> None:
        one = job(model, to="image", steps=400)
        engine.queue.put([one])
        engine.start()
        async for _ in one.steps():
            one.leave()
            break
        other = job(model)
        engine.queue.put([other])
        await other.answer()

    asyncio.run(leaves())
    assert engine.metrics.cancelled._value.get() == 1


def test_an_answer_that_takes_too_long_is_given_up(model: ne.Model, engine: Engine) -> None:
    async def late() -> Job:
        one = job(model, to="image", steps=400, wait=0.1)
        engine.queue.put([one])
        with pytest.raises(Refusal, match="took too long") as raised:
            await one.answer()
        assert raised.value.status_code == 503
        return one

    assert asyncio.run(late()).left


def test_a_halt_answers_what_is_begun_as_it_stands(model: ne.Model, engine: Engine) -> None:
    async def halted() -> None:
        one, behind = job(model, to="image", steps=400), job(model, "another prompt")
        engine.queue.put([one])
        engine.queue.put([behind])
        engine.start()
        async for step in one.steps():
            if step.number == 2:
                engine.halt()
        answer = await one.answer()
        assert one.partial and answer.image.size == (16, 16)
        with pytest.raises(Refusal, match="stopping") as raised:
            await behind.answer()
        assert raised.value.status_code == 503
        with pytest.raises(Refusal, match="stopping"):
            engine.queue.put([job(model)])

    asyncio.run(halted())


class Waiting:
    """A stand-in for a job where only its client and its key count."""

    def __init__(self, client: str, key: int) -> None:
        self.client, self.key = client, key


@given(ARRIVALS, st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_the_queue_loses_nothing_and_clients_take_turns(
    arrivals: list[tuple[str, int]], most: int
) -> None:
    queue = FairQueue(200)
    jobs: list[Any] = [Waiting(*each) for each in arrivals]
    for each in jobs:
        queue.put([each])
    taken: list[list[Any]] = []
    while batch := queue.take(most):
        taken.append(batch)
        assert len(batch) <= most and len({each.key for each in batch}) == 1
    served = list(itertools.chain(*taken))
    assert len(served) == len(jobs) and set(map(id, served)) == set(map(id, jobs))
    # of each client and kind, first come is first served
    for client, key in set(arrivals):
        mine: Callable[[Any], bool] = lambda e, c=client, k=key: (e.client, e.key) == (c, k)  # type: ignore[misc]  # noqa: E731
        assert [e for e in served if mine(e)] == [e for e in jobs if mine(e)]


def test_a_client_with_much_does_not_keep_another_waiting() -> None:
    queue = FairQueue(100)
    jobs: list[Any] = [Waiting("much", n) for n in range(30)]
    for each in [*jobs, Waiting("little", 99)]:  # type: ignore[list-item]
        queue.put([each])
    order = [queue.take(1)[0].client for _ in range(3)]
    assert order == ["much", "little", "much"]


def test_the_queue_and_a_client_s_share_of_it_are_bounded() -> None:
    queue = FairQueue(4)
    full: list[Any] = [Waiting("a", 0), Waiting("a", 0), Waiting("b", 0), Waiting("c", 0)]
    for each in full:
        queue.put([each])
    for client, sentence in (("d", "the queue takes 4"), ("a", "the queue takes 4")):
        with pytest.raises(HTTPException) as raised:
            queue.put([Waiting(client, 0)])  # type: ignore[list-item]
        assert raised.value.status_code == 429 and sentence in str(raised.value)
    queue.take(1)
    queue.take(1)
    with pytest.raises(HTTPException, match="one client may have 2"):
        queue.put([Waiting("a", 0), Waiting("a", 0)])  # type: ignore[list-item]


def test_an_error_within_a_stream_is_its_last_event() -> None:
    async def events() -> list[bytes]:
        async def failing() -> Any:
            yield b"first"
            raise NonFiniteError("step 3: NaN")

        return [each async for each in with_failure(failing())]

    first, last = asyncio.run(events())
    assert first == b"first" and b'"message":"step 3: NaN"' in last
