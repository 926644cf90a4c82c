"""Dynamic length: blocks are added while <EOS> is confident nowhere, each request for itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.batch import Batch, BatchNoise
from nextomni_edge.generate.blocks import BlockPolicy, calibrated_threshold
from nextomni_edge.generate.loop import generate, generate_batch
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.steps import StepRecord
from nextomni_edge.runtimes.base import NonFiniteError
from nextomni_edge.spec import Wire
from tests.generate.fake import BLOCK, Fake, end_at


def response_length(fake: Fake, **given: object) -> int:
    options = GenerationOptions.defaults(fake.config, "text", **given)
    found = generate(fake.model, fake.ask("text", 1), options)
    return len(found.segments[-1])


@pytest.mark.parametrize(("row", "blocks"), [(0, 1), (3, 1), (4, 2), (11, 3)])
def test_blocks_are_added_until_eos_is_confident(fake: Fake, row: int, blocks: int) -> None:
    end_at(fake, row)
    assert response_length(fake, max_blocks=3) == blocks * BLOCK


def test_no_more_blocks_than_allowed(fake: Fake) -> None:
    end_at(fake, 11)
    assert response_length(fake, max_blocks=2) == 2 * BLOCK


def test_a_fixed_length_stays(fake: Fake) -> None:
    end_at(fake, 11)
    assert response_length(fake) == BLOCK


@pytest.mark.parametrize(("threshold", "blocks"), [(0.25, 1), (0.75, 3)])
def test_the_threshold_decides(fake: Fake, threshold: float, blocks: int) -> None:
    """Logit log(V − 1) gives <EOS> a probability of one half in every row."""
    vocabulary, eos = fake.config.text.vocabulary_size, fake.model.tokenizer.special.eos
    logits = np.where(np.arange(vocabulary) == eos, np.log(vocabulary - 1), 0.0)
    fake.sessions["text_head"].function = lambda inputs: np.tile(
        logits, (*inputs[Wire.HIDDEN].shape[:2], 1)
    )
    assert response_length(fake, max_blocks=3, eos_threshold=threshold) == blocks * BLOCK


def test_each_request_of_a_batch_finds_its_own_length(fake: Fake) -> None:
    end_at(fake, 5)
    longer = fake.ask("text", 1, prompt="draw a red rocket what is this?")
    moved = longer.spans()[-1][0] - fake.ask("text").spans()[-1][0]
    assert 1 <= moved <= 5  # so that the marked position is in the second prompt's first block
    options = GenerationOptions.defaults(fake.config, "text", max_blocks=3)
    found = generate_batch(fake.model, [fake.ask("text", 1), longer], options)
    assert [len(sequence.segments[-1]) for sequence in found] == [2 * BLOCK, BLOCK]


def test_a_longer_response_starts_from_the_same_noise(fake: Fake) -> None:
    starts = []
    for blocks in (1, 2):
        batch = Batch([fake.ask("text", blocks)], [9])
        starts.append(BatchNoise(batch, 1).start(fake.model.paths("text"))[0])
    np.testing.assert_array_equal(starts[1][:BLOCK], starts[0])


def test_guidance_decides_the_length_too(fake: Fake) -> None:
    policy = BlockPolicy(
        fake.model, GenerationOptions(guidance=1.0, max_blocks=2), limit=32, meter=Meter()
    )
    policy.lengthen([fake.ask("text", 1)], [0])
    assert fake.sessions["backbone"].calls == 1


@pytest.mark.parametrize(("row", "blocks"), [(0, 1), (3, 1), (4, 2), (11, 3)])
def test_blocks_come_along_with_the_denoising(fake: Fake, row: int, blocks: int) -> None:
    end_at(fake, row)
    assert response_length(fake, max_blocks=3, extend="interleaved", steps=8) == blocks * BLOCK


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_response_that_need_not_grow_is_as_without(fake: Fake, temperature: float) -> None:
    plain = GenerationOptions.defaults(fake.config, "text", steps=8, temperature=temperature)
    grows = dataclasses.replace(plain, max_blocks=3, extend="interleaved", eos_threshold=1e-9)
    one, other = (
        generate(fake.model, fake.ask("text"), given).segments[-1].tokens
        for given in (plain, grows)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("until", "blocks"), [(0.0, 1), (0.2, 2), (1.0, 3)])
def test_blocks_come_no_later_than_said(fake: Fake, until: float, blocks: int) -> None:
    """5 steps, the first of which asks for no forward: at t = 0.2 the first block may come."""
    end_at(fake, 11)
    assert (
        response_length(fake, max_blocks=3, extend="interleaved", extend_until=until, steps=5)
        == blocks * BLOCK
    )


def test_each_request_of_a_batch_grows_for_itself_and_is_as_alone(fake: Fake) -> None:
    end_at(fake, 5)
    asked = [fake.ask("text", 1), fake.ask("text", 1, prompt="draw a red rocket what is this?")]
    given = GenerationOptions.defaults(
        fake.config, "text", max_blocks=3, extend="interleaved", steps=8, padding=0.5
    )
    records: list[StepRecord] = []
    found = generate_batch(fake.model, asked, given, [1, 2], records.append)
    assert [len(sequence.segments[-1]) for sequence in found] == [2 * BLOCK, BLOCK]
    for seed, (together, sequence) in enumerate(zip(found, asked, strict=True), 1):
        alone = generate(fake.model, sequence, dataclasses.replace(given, seed=seed))
        np.testing.assert_array_equal(together.segments[-1].tokens, alone.segments[-1].tokens)
    own = [len(record.x_t[0]) for record in records if record.request == 0]
    assert own[0] == BLOCK and own[-1] == 2 * BLOCK


def test_nan_while_the_length_is_found_is_named(fake: Fake) -> None:
    fake.sessions["text_head"].spoil = lambda call, output: output.fill(np.nan)
    with pytest.raises(
        NonFiniteError,
        match=(
            r"^finding the length, before step 0: text_head: output logits is nan at batch 0,"
            r" rows 0,"
        ),
    ):
        response_length(fake, max_blocks=2)


def test_confidences_are_those_of_every_length(fake: Fake) -> None:
    policy = BlockPolicy(fake.model, GenerationOptions(max_blocks=3), limit=32, meter=Meter())
    asked = [fake.ask("text", 1), fake.ask("text", 1, prompt="a cat")]
    found = policy.confidences(asked, [1, 2])
    longer = [fake.ask("text", 2), fake.ask("text", 2, prompt="a cat")]
    np.testing.assert_array_equal(found[:, 1], policy.confidence(longer, [1, 2]))
    assert found.shape == (2, 3) and (found > 0).all()


def test_the_threshold_is_where_most_lengths_are_right() -> None:
    confidences = np.array([[0.1, 0.8, 0.9], [0.2, 0.7, 0.9], [0.6, 0.7, 0.7], [0.3, 0.4, 0.5]])
    threshold = calibrated_threshold(confidences, np.array([2, 2, 1, 3]))
    assert 0.4 < threshold <= 0.6
    assert calibrated_threshold(confidences[:2], np.array([1, 1])) < 0.1
    assert 0.8 < calibrated_threshold(confidences[:2], np.array([3, 3])) < 1.0


def test_a_found_threshold_gives_the_lengths_it_was_found_from(fake: Fake) -> None:
    end_at(fake, 5)
    policy = BlockPolicy(fake.model, GenerationOptions(max_blocks=3), limit=32, meter=Meter())
    threshold = calibrated_threshold(policy.confidences([fake.ask("text", 1)], [0]), np.array([2]))
    assert response_length(fake, max_blocks=3, eos_threshold=threshold) == 2 * BLOCK


def test_a_threshold_needs_responses() -> None:
    with pytest.raises(UsageError, match="no responses to find a threshold from"):
        calibrated_threshold(np.zeros((0, 3)), np.zeros(0, np.int64))
