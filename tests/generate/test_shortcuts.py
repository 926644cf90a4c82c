"""Exact shortcuts (METHOD 6): off and on give the same tokens at every step, of every modality, and
on computes less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.shortcuts import SHORTCUTS
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.spec import Wire
from nextomni_edge.tokens.chat import Kind
from tests.generate.fake import Fake

KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video")


@dataclass
class Done:
    """A run's tokens before every step and at the end, and what was counted."""

    steps: list[tuple[np.ndarray, ...]]
    tokens: list[np.ndarray]
    meter: Meter
    backbone: int
    head: int


def run(fake: Fake, kind: Kind, given: GenerationOptions) -> Done:
    for session in fake.sessions.values():
        session.calls = 0
    records: list[StepRecord] = []
    meter = Meter()
    found = generate(fake.model, fake.ask(kind), given, records.append, meter)
    head = fake.sessions["image_head" if kind == "video" else f"{kind}_head"].calls
    tokens = [found.segments[index].tokens for index in found.generated()]
    return Done(
        [record.x_t for record in records], tokens, meter, fake.sessions["backbone"].calls, head
    )


def compared(
    fake: Fake, kind: Kind, switch: str, others: bool = False, **given: Any
) -> tuple[Done, Done]:
    """The run without and with a shortcut (all others as said), once the tokens of every step were
    found equal."""
    rest = dict.fromkeys(SHORTCUTS, others)
    plain, short = (
        run(
            fake,
            kind,
            GenerationOptions.defaults(fake.config, kind, **{**rest, **given, switch: on}),
        )
        for on in (False, True)
    )
    for step, expected in enumerate(plain.steps):
        for found, tokens in zip(
            short.steps[step] if step < len(short.steps) else short.tokens, expected, strict=True
        ):
            np.testing.assert_array_equal(found, tokens)
    for found, tokens in zip(short.tokens, plain.tokens, strict=True):
        np.testing.assert_array_equal(found, tokens)
    return plain, short


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(
    ("others", "stepper"), [(False, "euler"), (True, "corrected")], ids=["alone", "with all others"]
)
@pytest.mark.parametrize("switch", [*SHORTCUTS, "batch_guidance"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_the_same(
    fake: Fake, kind: Kind, switch: str, others: bool, temperature: float, stepper: str
) -> None:
    compared(
        fake,
        kind,
        switch,
        others,
        steps=7,
        guidance=1.5,
        temperature=temperature,
        stepper=stepper,
        seed=3,
    )


@pytest.mark.parametrize("head", ["parallel", "autoregressive"])
@pytest.mark.parametrize("logit_shift", [0, 1])
def test_all_together_change_nothing_whatever_the_head(
    tmp_path: Path, head: str, logit_shift: int
) -> None:
    fake = Fake(tmp_path, head=head, logit_shift=logit_shift)
    for kind in KINDS:
        given = GenerationOptions.defaults(fake.config, kind, steps=9, guidance=1.0, seed=5)
        plain, short = run(fake, kind, given.plain()), run(fake, kind, given)
        for found, tokens in zip(short.tokens, plain.tokens, strict=True):
            np.testing.assert_array_equal(found, tokens)


def test_no_forward_at_the_start(fake: Fake) -> None:
    for given, forwards in (
        ({"steps": 6}, 5),
        ({"steps": 6, "stepper": "corrected"}, 6),
        ({"steps": 1}, 1),
    ):
        plain, short = compared(fake, "image", "skip_first_forward", **given)
        assert (plain.backbone, short.backbone) == (given["steps"], forwards)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_logits_are_reused_while_no_token_changed(fake: Fake, kind: Kind) -> None:
    plain, short = compared(fake, kind, "reuse_logits", steps=100)
    assert plain.backbone == 100
    assert short.backbone < 90
    assert short.meter.forwards_saved == 100 - short.backbone


def test_greedy_text_stops_early(tmp_path: Path) -> None:
    # hidden states hardly depend on the tokens, so that x_t arrives at its argmax
    fake = Fake(tmp_path, coupling=0.01)
    plain, short = compared(fake, "text", "stop_early", steps=100)
    assert plain.backbone == 100
    assert short.backbone < 90


def test_a_sampled_run_never_stops_early(tmp_path: Path) -> None:
    plain, short = compared(
        Fake(tmp_path, coupling=0.01), "text", "stop_early", steps=40, temperature=0.5
    )
    assert (plain.backbone, short.backbone) == (40, 40)


def counted(fake: Fake, component: str, wire: str) -> list[int]:
    """Rows of every call of a component from now on."""
    rows: list[int] = []
    session = fake.sessions[component]
    function: Callable[..., np.ndarray] = session.function

    def counting(inputs: Any) -> np.ndarray:
        rows.append(inputs[wire].shape[0] * inputs[wire].shape[1])
        return function(inputs)

    session.function = counting
    return rows


def test_only_rows_that_changed_are_embedded_again(fake: Fake) -> None:
    rows = counted(fake, "embed_image", Wire.CODES)
    plain, short = compared(fake, "image", "keep_embeddings", steps=30)
    first, rest = rows[: plain.backbone + 1], rows[plain.backbone + 1 :]
    assert first == [4] * (plain.backbone + 1)
    assert rest[:2] == [4, 4] and sum(rest) < 0.8 * sum(first)
    assert short.meter.jumps == plain.meter.jumps > 0


def test_sub_codes_are_drawn_in_fewer_calls_of_the_head(fake: Fake) -> None:
    plain, short = compared(fake, "image", "draw_together", steps=30, temperature=0.3)
    assert plain.head == 30 * 3
    assert short.head <= plain.head
    assert short.meter.head_rows < 0.8 * plain.meter.head_rows


def test_text_logits_are_read_in_blocks(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nextomni_edge.generate.draw.LOGITS_AT_ONCE", 2 * fake.config.text.vocabulary_size
    )
    rows = counted(fake, "text_head", Wire.HIDDEN)
    for temperature in (0.0, 0.7):
        compared(fake, "text", "stream_logits", steps=6, temperature=temperature)
    assert set(rows) == {2}


def test_heads_see_generated_rows_alone(fake: Fake) -> None:
    rows = counted(fake, "image_head", Wire.HIDDEN)
    run(fake, "image", GenerationOptions.defaults(fake.config, "image", guidance=0.0).plain())
    assert set(rows) == {4} and fake.sessions["text_head"].calls == 0


def test_the_prompt_is_embedded_once(fake: Fake) -> None:
    rows = counted(fake, "embed_text", Wire.TOKENS)
    run(fake, "image", GenerationOptions.defaults(fake.config, "image", steps=20, guidance=0.0))
    assert sum(rows) == fake.ask("image").length - 4


def test_metric_rows_are_kept(fake: Fake) -> None:
    compared(fake, "image", "keep_metric_rows", steps=30)
    for path in fake.model.paths("image"):
        assert isinstance(path, MetricPath) and path.metric.kept is not None
        assert path.metric.kept.misses <= 16 < path.metric.kept.hits


def test_the_backbone_reads_the_embeddings_where_they_stand(fake: Fake) -> None:
    addresses: dict[bool, set[int]] = {}
    session = fake.sessions["backbone"]
    function = session.function
    for reuse in (True, False):
        held: list[np.ndarray] = []  # an address that is held is given to no other array

        def watched(inputs: Any, held: list[np.ndarray] = held) -> np.ndarray:
            array = inputs[Wire.EMBEDDINGS]
            while array.base is not None:
                array = array.base
            held.append(array)
            return function(inputs)

        session.function = watched
        run(
            fake,
            "image",
            GenerationOptions.defaults(
                fake.config, "image", steps=8, reuse_buffers=reuse, reuse_logits=False
            ),
        )
        addresses[reuse] = {array.__array_interface__["data"][0] for array in held}
    assert len(addresses[True]) == 1
    assert len(addresses[False]) == 7


def test_guidance_takes_one_forward_or_two(fake: Fake) -> None:
    apart, together = compared(fake, "image", "batch_guidance", steps=5, guidance=2.0)
    assert (apart.backbone, together.backbone) == (10, 5)
    assert apart.meter.forwards == together.meter.forwards == 5


def test_pads_are_never_computed(fake: Fake) -> None:
    """A request alone has none; of several in one forward, those that still change are cut to the
    longest of them."""
    rows = counted(fake, "backbone", Wire.EMBEDDINGS)
    short, long = (
        fake.ask("text", 1, "a cat"),
        fake.ask("text", 3, "draw a red rocket what is this?"),
    )
    done = run(
        fake, "image", GenerationOptions.defaults(fake.config, "image", steps=6, guidance=0.0)
    )
    assert set(rows) == {fake.ask("image").length} and done.meter.rows == sum(rows)
    rows.clear()
    given = GenerationOptions.defaults(fake.config, "text", steps=60, padding=0.9)
    generate_batch(fake.model, [short, long], given, [1, 2])
    assert {short.length, long.length, 2 * long.length} == set(rows)
