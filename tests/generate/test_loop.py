"""The loop against METHOD 3 written out plainly, and each promise that it makes."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.sampling import sample_x_1
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord, StoppedError
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.tokens.chat import Kind
from nextomni_edge.tokens.sequence import Segment, Sequence, unconditional
from tests.flow.tables import STEPS, start
from tests.generate.fake import Fake

KINDS: tuple[tuple[Kind, int | None], ...] = (
    ("text", 2),
    ("image", None),
    ("audio", 3),
    ("video", 2),
)


def options(fake: Fake, kind: str, **given: Any) -> GenerationOptions:
    return GenerationOptions.defaults(fake.config, kind, **given)


def traced(
    fake: Fake, sequence: Sequence, given: GenerationOptions
) -> tuple[Sequence, list[StepRecord]]:
    records: list[StepRecord] = []
    return generate(fake.model, sequence, given, records.append), records


def plain_hidden(fake: Fake, sequence: Sequence) -> np.ndarray:
    rows = [
        fake.network.embed(s.modality, s.tokens[None])[0].astype(np.float32)
        for s in sequence.segments
    ]
    return fake.network.backbone(
        np.concatenate(rows)[None], np.arange(sequence.length)[None]
    ).astype(np.float32)


def plain_loop(fake: Fake, sequence: Sequence, given: GenerationOptions) -> list[list[np.ndarray]]:
    """Tokens of each generated segment before every step and at the end: one forward a step, no
    batch, no shortcut."""
    config, noise, steps = fake.config, Noise(given.seed), given.steps
    indices = sequence.generated()
    modality = sequence.segments[indices[0]].modality
    codebooks, entries = fake.network.sizes[modality]
    settings = config.flow.of(modality)
    tables = fake.tables[modality].reshape(codebooks, entries, -1)
    paths = [MetricPath(table, MetricSchedule(settings.c, settings.a)) for table in tables]
    autoregressive = modality != "text" and getattr(config, modality).head.kind == "autoregressive"

    def shaped(tokens: np.ndarray) -> np.ndarray:
        return tokens[:, 0] if modality == "text" else tokens

    for index in indices:
        x_0 = start(noise, index, len(sequence.segments[index]), codebooks, entries)
        sequence = sequence.with_tokens(index, shaped(x_0))
    trajectory = [[sequence.segments[index].tokens for index in indices]]
    for step in range(steps):
        hidden = plain_hidden(fake, sequence)
        without = plain_hidden(fake, unconditional(sequence, fake.model.tokenizer.special))
        following = sequence
        for index in indices:
            first, stop = sequence.spans()[index]
            rows = slice(first - config.logit_shift, stop - config.logit_shift)
            x_t = sequence.segments[index].tokens.reshape(stop - first, codebooks)
            uniform = {use: noise.uniform(index, step, use, stop - first, codebooks) for use in Use}
            x_1, x_next = np.zeros_like(x_t), np.zeros_like(x_t)
            for k in range(codebooks):
                codes = x_1[None] if autoregressive else None
                both = [
                    fake.network.head(modality, h[:, rows], codes).astype(np.float32)
                    for h in (hidden, without)
                ]
                cond, uncond = (
                    logits.reshape(stop - first, codebooks, entries)[:, k] for logits in both
                )
                logits = (
                    (1 + given.guidance) * cond - given.guidance * uncond
                    if given.guidance and step / steps <= given.guidance_until
                    else cond
                )
                x_1[:, k] = sample_x_1(
                    logits, uniform[Use.X_1][:, k], given.temperature, given.top_k, given.top_p
                )
            for k in range(codebooks):
                draws = uniform[Use.JUMP][:, k], uniform[Use.TARGET][:, k]
                x_next[:, k] = STEPS[given.stepper](
                    x_t[:, k], x_1[:, k], step / steps, 1 / steps, paths[k], *draws,
                    step == steps - 1,
                )  # fmt: skip
            following = following.with_tokens(index, shaped(x_next))
        sequence = following
        trajectory.append([sequence.segments[index].tokens for index in indices])
    return trajectory


@pytest.mark.parametrize("stepper", ["euler", "corrected"])
@pytest.mark.parametrize("head", ["parallel", "autoregressive"])
@pytest.mark.parametrize("logit_shift", [0, 1])
@pytest.mark.parametrize(("kind", "count"), KINDS)
def test_every_step_is_that_of_the_plain_loop(
    tmp_path: Path, kind: Kind, count: int | None, logit_shift: int, head: str, stepper: str
) -> None:
    fake = Fake(tmp_path, head=head, logit_shift=logit_shift)
    given = options(
        fake,
        kind,
        seed=7,
        steps=5,
        guidance=1.5,
        stepper=stepper,
        temperature=0.7 if kind == "audio" else None,
    )
    sequence, records = traced(fake, fake.ask(kind, count), given)
    expected = plain_loop(fake, fake.ask(kind, count), given)
    for record, tokens in zip(records, expected, strict=False):
        for found, plain in zip(record.x_t, tokens, strict=True):
            np.testing.assert_array_equal(found, plain)
    for index, plain in zip(sequence.generated(), expected[-1], strict=True):
        np.testing.assert_array_equal(sequence.segments[index].tokens, plain)


@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 3}, {"top_p": 0.4}, {"guidance": 0.0}, {"temperature": 0.0},
        {"guidance_until": 0.5}, {"guidance_until": 0.25, "temperature": 0.0},
    ],
)  # fmt: skip
def test_sampling_options_reach_the_draw(fake: Fake, given: dict[str, Any]) -> None:
    chosen = options(fake, "image", steps=4, **given)
    sequence = generate(fake.model, fake.ask("image"), chosen)
    expected = plain_loop(fake, fake.ask("image"), chosen)[-1]
    np.testing.assert_array_equal(sequence.segments[sequence.generated()[0]].tokens, expected[0])
    assert not np.array_equal(
        expected[0], plain_loop(fake, fake.ask("image"), options(fake, "image", steps=4))[-1][0]
    )


@pytest.mark.parametrize(("kind", "count"), KINDS)
def test_what_is_given_stays_and_what_is_generated_is_in_range(
    fake: Fake, kind: Kind, count: int | None
) -> None:
    asked = fake.ask(kind, count)
    found = generate(fake.model, asked, options(fake, kind))
    for before, after in zip(asked.segments, found.segments, strict=True):
        if before.frozen:
            np.testing.assert_array_equal(before.tokens, after.tokens)
        else:
            assert after.tokens.shape == before.tokens.shape
            assert (
                after.tokens.min() >= 0
                and after.tokens.max() < fake.network.sizes[after.modality][1]
            )


def test_the_seed_decides(fake: Fake) -> None:
    def tokens(seed: int) -> list[int]:
        found = generate(fake.model, fake.ask("image"), options(fake, "image", seed=seed))
        return list(found.segments[found.generated()[0]].tokens.ravel())

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)


def test_records_hold_every_step_and_the_last_x_1_is_the_result(fake: Fake) -> None:
    sequence, records = traced(fake, fake.ask("video", 3), options(fake, "video", steps=4))
    assert [record.step for record in records] == [0, 1, 2, 3]
    assert [record.t for record in records] == [0.0, 0.25, 0.5, 0.75]
    assert records[0].x_1 is None and records[0].margin == np.inf
    assert all(0 < record.margin < 1 for record in records[1:])
    for frame, index in enumerate(sequence.generated()):
        assert records[-1].x_1 is not None
        np.testing.assert_array_equal(records[-1].x_1[frame], sequence.segments[index].tokens)


def test_frames_of_a_video_share_each_forward(fake: Fake) -> None:
    generate(fake.model, fake.ask("video", 4), options(fake, "video", steps=5))
    assert fake.sessions["backbone"].calls == 4


# --- batches ---


def test_a_batch_is_its_requests_one_by_one(fake: Fake) -> None:
    prompts = ["draw a red rocket", "say a cat", "draw a red rocket", "what is this?"]
    asked = [fake.ask("image", prompt=prompt) for prompt in prompts]
    given, seeds = options(fake, "image"), [5, 6, 7, 8]
    seen: list[StepRecord] = []
    together = generate_batch(fake.model, asked, given, seeds, seen.append)
    for request, (sequence, seed) in enumerate(zip(asked, seeds, strict=True)):
        alone, records = traced(fake, sequence, dataclasses.replace(given, seed=seed))
        index = alone.generated()[0]
        np.testing.assert_array_equal(
            together[request].segments[index].tokens, alone.segments[index].tokens
        )
        own = [record for record in seen if record.request == request]
        for found, expected in zip(own, records, strict=True):
            np.testing.assert_array_equal(found.x_t[0], expected.x_t[0])


def test_requests_of_one_layout_share_their_forwards(fake: Fake) -> None:
    generate_batch(
        fake.model,
        [fake.ask("image")] * 40,
        options(fake, "image", steps=3, guidance=2.0),
        list(range(40)),
    )
    # 80 rows of two branches do not fit one batch of 64
    assert fake.sessions["backbone"].calls == 2 * 2


def test_each_request_needs_a_seed(fake: Fake) -> None:
    with pytest.raises(UsageError, match=r"^1 seeds for 2 sequences: give one each$"):
        generate_batch(fake.model, [fake.ask("image")] * 2, options(fake, "image"), [1])


@pytest.mark.parametrize("kind", ["text", "image"])
@pytest.mark.parametrize("logit_shift", [0, 1])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_requests_of_different_lengths_share_forwards_and_see_nothing_of_each_other(
    tmp_path: Path, kind: Kind, logit_shift: int, guidance: float
) -> None:
    """Padding holds what would spoil a mean over it: the fake network attends to all that its mask
    allows."""
    fake = Fake(tmp_path, logit_shift=logit_shift)
    asked = [
        fake.ask(kind, count if kind == "text" else None, prompt)
        for count, prompt in (
            (2, "draw a red rocket"),
            (1, "a cat"),
            (3, "draw a red rocket what is this?"),
            (1, "say a cat"),
        )
    ]
    given, seeds = (
        options(fake, kind, guidance=guidance, temperature=0.5, padding=0.9),
        [5, 6, 7, 8],
    )
    seen: list[StepRecord] = []
    together = generate_batch(fake.model, asked, given, seeds, seen.append)
    assert fake.sessions["backbone"].calls == given.steps - 1
    for request, (sequence, seed) in enumerate(zip(asked, seeds, strict=True)):
        alone, records = traced(fake, sequence, dataclasses.replace(given, seed=seed))
        np.testing.assert_array_equal(
            together[request].segments[-2 if kind == "image" else -1].tokens,
            alone.segments[-2 if kind == "image" else -1].tokens,
        )
        for found, expected in zip((r for r in seen if r.request == request), records, strict=True):
            np.testing.assert_array_equal(found.x_t[0], expected.x_t[0])
            assert (found.x_1 is None) == (expected.x_1 is None)
            if found.x_1 is not None and expected.x_1 is not None:
                np.testing.assert_array_equal(found.x_1[0], expected.x_1[0])
                np.testing.assert_allclose(
                    found.margins[0], expected.margins[0], rtol=1e-4, atol=1e-6
                )  # type: ignore[index]


def test_padding_stays_within_its_share(fake: Fake) -> None:
    asked = [
        fake.ask("image", prompt=prompt)
        for prompt in ("a cat", "say a cat", "draw a red rocket what is this?" * 3)
    ]
    for padding, calls in ((0.0, 3), (0.2, 2), (0.9, 1)):
        fake.sessions["backbone"].calls = 0
        generate_batch(
            fake.model, asked, options(fake, "image", steps=2, guidance=0.0, padding=padding)
        )
        assert fake.sessions["backbone"].calls == calls


def test_threads_share_a_model(fake: Fake) -> None:
    def tokens(seed: int) -> bytes:
        found = generate(fake.model, fake.ask("image"), options(fake, "image", seed=seed))
        return found.segments[found.generated()[0]].tokens.tobytes()

    alone = [tokens(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokens, range(12))) == alone


# --- refusals ---


def test_nan_names_step_component_and_row(fake: Fake) -> None:
    def spoil(call: int, output: np.ndarray) -> None:
        if call == 2:
            output[0, 3, 1, 5] = np.nan

    fake.sessions["image_head"].spoil = spoil
    given = options(fake, "image", steps=8, guidance=0.0, reuse_logits=False, draw_together=False)
    where = "row 3 of what request 0 generates"
    expected = (
        "step 1 of 8: image_head: output logits is nan at batch 0, rows 3, axis 2: 1, axis 3: 5;"
        f" that is {where}"
    )
    with pytest.raises(NonFiniteError, match=f"^{expected}$"):
        generate(fake.model, fake.ask("image"), given)


def test_infinity_in_the_backbone_is_refused_too(fake: Fake) -> None:
    def spoil(call: int, output: np.ndarray) -> None:
        if call == 4:
            output[1, 6, 0] = -np.inf

    fake.sessions["backbone"].spoil = spoil
    given = options(fake, "image", steps=8, reuse_logits=False)
    with pytest.raises(
        NonFiniteError,
        match=r"^step 5 of 8: backbone: output hidden is -inf at batch 1, rows 6, axis 2: 0; that",
    ):
        generate(fake.model, fake.ask("image"), given)


def test_infinity_that_guidance_makes_is_refused(fake: Fake) -> None:
    def spoil(call: int, output: np.ndarray) -> None:
        output[0, 2, 1, 5] = 3e38

    fake.sessions["image_head"].spoil = spoil
    expected = (
        r"^step 1 of 8: image_head: a logit under guidance is inf at sub-code 1, symbol 5 of row 2"
        r" of what request 0"
    )
    with pytest.raises(StoppedError, match=expected) as stopped:
        generate(fake.model, fake.ask("image"), options(fake, "image", steps=8, guidance=2.0))
    assert stopped.value.exit_code == 4


def test_what_was_generated_until_nan_is_kept(fake: Fake) -> None:
    given = options(fake, "image", steps=20, guidance=0.0, reuse_logits=False)
    _, records = traced(fake, fake.ask("image"), given)
    fake.sessions["backbone"].calls = 0
    fake.sessions["backbone"].spoil = lambda call, output: (
        output.fill(np.nan) if call == 12 else None
    )
    with pytest.raises(StoppedError, match=r"^step 13 of 20: backbone: ") as stopped:
        generate_batch(fake.model, [fake.ask("image"), fake.ask("text")], given)
    done, untouched = stopped.value.partial
    np.testing.assert_array_equal(done.segments[-2].tokens, records[13].x_t[0])
    np.testing.assert_array_equal(untouched.segments[-1].tokens, 0)


def test_a_run_generates_one_modality(fake: Fake) -> None:
    both = Sequence(
        (*fake.ask("image").segments, Segment("text", np.zeros(4, np.int64), frozen=False))
    )
    for sequence, found in ((both, "image and text"), (Sequence(both.segments[:1]), "nothing")):
        with pytest.raises(
            UsageError,
            match=f"^{found} to generate: a run generates one modality; append a response, and one",
        ):
            generate(fake.model, sequence, options(fake, "image"))


def test_a_shifted_model_needs_a_row_before_the_response(tmp_path: Path) -> None:
    fake = Fake(tmp_path, logit_shift=1)
    bare = Sequence((Segment("text", np.zeros(4, np.int64), frozen=False),))
    with pytest.raises(
        UsageError,
        match=r"^the first row has none before it to be predicted from: give a prompt before",
    ):
        generate(fake.model, bare, options(fake, "text"))


def test_too_long_a_sequence_is_refused(fake: Fake) -> None:
    long = Sequence((Segment("text", np.zeros(509, np.int64)), *fake.ask("text").segments[-1:]))
    with pytest.raises(
        UsageError, match=r"^sequence of 513 positions: the model takes at most 512"
    ):
        generate(fake.model, long, options(fake, "text"))
