"""A response in two parts is two responses, the second of which is given the first."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord, StoppedError
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Segment, Sequence
from tests.generate.fake import BLOCK, Fake, end_at

LEAD = 3


def options(fake: Fake, **given: Any) -> GenerationOptions:
    return GenerationOptions.defaults(
        fake.config,
        "text",
        **{"steps": 5, "temperature": 0.8, "seed": 3, "lead_tokens": LEAD, **given},
    )


def never_ends(fake: Fake) -> None:
    network, eos = fake.network, fake.model.tokenizer.special.eos
    fake.sessions["text_head"].function = lambda inputs: np.where(
        np.arange(fake.config.text.vocabulary_size) == eos,
        -50.0,
        network.head("text", inputs["hidden"], None),
    )


def response(sequence: Sequence) -> list[int]:
    return list(sequence.segments[-1].tokens)


@pytest.mark.parametrize("stepper", ["euler", "corrected"])
@pytest.mark.parametrize("logit_shift", [0, 1])
def test_the_second_part_is_given_the_first(tmp_path: Path, logit_shift: int, stepper: str) -> None:
    fake = Fake(tmp_path, logit_shift=logit_shift)
    never_ends(fake)
    alone = options(fake, lead_tokens=0, stepper=stepper)
    asked = fake.ask("text", 3)
    lead = generate(
        fake.model, asked.with_tokens(asked.generated()[0], np.zeros(LEAD, np.int64)), alone
    )
    given = Segment("text", lead.segments[-1].tokens)
    rest = Sequence(
        (
            *lead.segments[:-1],
            given,
            Segment("text", np.zeros(3 * BLOCK - LEAD, np.int64), frozen=False),
        )
    )
    expected = [*given.tokens, *response(generate(fake.model, rest, alone))]
    found = generate(fake.model, asked, options(fake, stepper=stepper))
    assert response(found) == expected
    assert len(found.segments) == len(asked.segments)
    assert response(generate(fake.model, asked, alone)) != expected


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_response_no_longer_than_the_lead_is_as_without(fake: Fake, blocks: int) -> None:
    asked, meter = fake.ask("text", blocks), Meter()
    found = generate(fake.model, asked, options(fake, lead_tokens=2 * BLOCK), meter=meter)
    assert response(found) == response(generate(fake.model, asked, options(fake, lead_tokens=0)))
    assert (meter.requests, meter.steps) == (1, 5)


def test_nothing_is_computed_behind_an_end(fake: Fake) -> None:
    end_at(fake, 2)
    meter, special = Meter(), fake.model.tokenizer.special
    found = generate(fake.model, fake.ask("text", 3), options(fake, temperature=0.0), meter=meter)
    assert len(response(found)) == 3 * BLOCK and special.eos in response(found)[:LEAD]
    assert response(found)[LEAD:] == [special.pad] * (3 * BLOCK - LEAD)
    assert meter.requests == 1 and meter.steps <= 5


def test_each_request_of_a_batch_is_as_alone(fake: Fake) -> None:
    """That of the other prompt ends in its first part, so that only some go on."""
    end_at(fake, 5)
    asked = [
        fake.ask("text", 3),
        fake.ask("text", 3, prompt="draw a red rocket what is this?"),
        fake.ask("text", 2),
    ]
    given, seeds, records = (
        options(fake, padding=0.5, temperature=0.0),
        [4, 5, 6],
        list[StepRecord](),
    )
    together = generate_batch(fake.model, asked, given, seeds, records.append)
    eos, ended = fake.model.tokenizer.special.eos, []
    for request, (found, sequence, seed) in enumerate(zip(together, asked, seeds, strict=True)):
        own: list[StepRecord] = []
        alone = generate(fake.model, sequence, dataclasses.replace(given, seed=seed), own.append)
        assert response(found) == response(alone)
        for one, other in zip(
            [record for record in records if record.request == request], own, strict=True
        ):
            assert one.step == other.step
            np.testing.assert_array_equal(one.x_t[0], other.x_t[0])
        ended.append(eos in response(found)[:LEAD])
    assert sorted(ended) == [False, False, True]


@pytest.mark.parametrize(("row", "blocks"), [(1, 1), (5, 2), (11, 3)])
@pytest.mark.parametrize("given", [{}, {"extend": "interleaved", "steps": 8}])
def test_what_stands_behind_the_lead_grows(
    fake: Fake, row: int, blocks: int, given: dict[str, Any]
) -> None:
    end_at(fake, row)
    found = generate(
        fake.model, fake.ask("text", 1), options(fake, max_blocks=3, temperature=0.0, **given)
    )
    assert len(response(found)) == blocks * BLOCK


def test_records_follow_each_other_and_hold_the_whole_response(fake: Fake) -> None:
    never_ends(fake)
    records: list[StepRecord] = []
    given = options(fake, steps=4)
    found = generate(fake.model, fake.ask("text", 3), given, records.append)
    assert [record.step for record in records] == list(range(8)) and given.all_steps == 8
    assert [len(record.x_t[0]) for record in records] == [LEAD] * 4 + [3 * BLOCK] * 4
    assert records[4].x_1 is None and records[7].x_1 is not None and records[7].margins is not None
    assert list(records[7].x_1[0]) == response(found)
    for record in records[4:]:
        assert list(record.x_t[0][:LEAD]) == response(found)[:LEAD]
    assert np.isinf(records[7].margins[0][:LEAD]).all() and 0 < records[7].margin < 1


@pytest.mark.parametrize(
    ("call", "line"),
    [(1, "first tokens: step 2 of 5: "), (5, "behind the first tokens: step 2 of 5: ")],
)
def test_a_stop_says_in_which_part_and_keeps_what_there_was(
    fake: Fake, call: int, line: str
) -> None:
    never_ends(fake)
    whole = response(generate(fake.model, fake.ask("text", 3), options(fake)))
    fake.sessions["backbone"].calls = 0
    fake.sessions["backbone"].spoil = lambda number, output: (
        output.fill(np.nan) if number == call else None
    )
    with pytest.raises(StoppedError, match=f"^{line}") as stopped:
        generate(fake.model, fake.ask("text", 3), options(fake))
    (partial,) = stopped.value.partial
    assert len(response(partial)) == 3 * BLOCK
    kept = response(partial)[:LEAD] == whole[:LEAD]
    assert (
        kept
        if call == 5
        else response(partial)[LEAD:] == [fake.model.tokenizer.special.pad] * (3 * BLOCK - LEAD)
    )


@pytest.mark.parametrize(
    ("kind", "given", "line"),
    [
        ("text", {"lead_tokens": -1}, "lead_tokens is -1, expected at least 0"),
        (
            "text",
            {"max_blocks": 2, "lead_tokens": 8},
            "lead_tokens is 8, max_blocks 2 allows no more than 8 in all",
        ),
        ("text", {"guidance": 1.0}, "lead_tokens: guidance's unconditional branch would lose them"),
        ("audio", {}, "lead_tokens is for text, but audio is generated"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    fake: Fake, kind: Kind, given: dict[str, Any], line: str
) -> None:
    with pytest.raises(UsageError, match=f"^{line}$"):
        generate(fake.model, fake.ask(kind), GenerationOptions(**{"lead_tokens": LEAD, **given}))


def test_a_canvas_of_one_size_has_no_parts(fake: Fake) -> None:
    canvas = dataclasses.replace(fake.config, text=dataclasses.replace(fake.config.text, canvas=40))
    with pytest.raises(
        UsageError, match=r"^lead_tokens: this model answers on a canvas of one size$"
    ):
        GenerationOptions(lead_tokens=1).check(canvas, "text")


@pytest.mark.parametrize("cache", ["none", "prefix", "revised"])
def test_what_leaves_pytorch_writes_the_same_parts(
    tiny_checkpoint: Path, tiny_bundle: Path, cache: str
) -> None:
    trajectories = []
    for model in (
        EdgeModel.from_checkpoint(tiny_checkpoint),
        EdgeModel.from_bundle(Bundle.open(tiny_bundle)),
    ):
        prompt = conversation(model.tokenizer, [Turn("user", (Part("text", "draw a red rocket"),))])
        asked = respond(prompt, "text", model.config, model.tokenizer, 3)
        given = GenerationOptions.defaults(
            model.config, "text", steps=6, temperature=0.8, lead_tokens=LEAD, seed=5, kv_cache=cache
        )
        steps: list[list[int]] = []
        generate(model, asked, given, lambda record, steps=steps: steps.append(list(record.x_t[0])))  # type: ignore[misc]
        trajectories.append(steps)
    assert trajectories[0] == trajectories[1] and len(trajectories[0][-1]) == 12
