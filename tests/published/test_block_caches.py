"""Fast-dLLM's caches on the recorded checkpoints: what they compute, and where they are exact."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.loop import generate
from nextomni_edge.generate.meter import Meter
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.generate.unmask import Unmasking
from nextomni_edge.tokens.chat import Part, Turn, conversation, respond
from nextomni_edge.tokens.sequence import Sequence
from tests.published.models import imported

TOKENS, BLOCK, STEPS = 16, 4, 8
CACHES = ("blocks", "dual")


@functools.cache
def model(family: str) -> EdgeModel:
    return EdgeModel.from_checkpoint(imported(family))


def asked(of: EdgeModel, words: str = "a red house") -> Sequence:
    given = conversation(of.tokenizer, [Turn("user", (Part("text", words),))])
    return respond(given, "text", of.config, of.tokenizer, length=TOKENS)


def options(of: EdgeModel, **settings: object) -> GenerationOptions:
    return GenerationOptions.defaults(of.config, "text", block=BLOCK, steps=STEPS, **settings)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_the_first_step_of_a_block_is_that_of_a_run_without_cache(family: str, cache: str) -> None:
    of, firsts = model(family), 0
    batch = Batch([asked(of), asked(of, "two apples")], [1, 2])
    plain = Unmasking(of, batch, options(of), Meter())
    kept = Unmasking(of, batch, options(of, kv_cache=cache), Meter())
    for record in plain.steps([0, 1], margins=True):
        if record.request:
            continue
        before = kept.progress[0].plan[record.step]
        eligible, x_1 = kept.follow(record.step, plain.x_t)
        if before.step == 0:
            firsts += 1
            expected = np.concatenate([part.reshape(-1) for part in record.x_1 or ()])
            np.testing.assert_array_equal(x_1[0, eligible[0], 0], expected[eligible[0]])
    assert firsts == TOKENS // BLOCK


@pytest.mark.parametrize(("cache", "inside"), [("dual", 4 * BLOCK), ("blocks", 40)])
def test_rows_of_a_run_are_whole_sequences_and_blocks(cache: str, inside: int) -> None:
    """Two steps a block: everything, then the block, or it and what is behind: 16 + 12 + 8 + 4."""
    of, meter = model("llada"), Meter()
    sequence = asked(of)
    length = sum(len(segment) for segment in sequence.segments)
    generate(of, sequence, options(of, kv_cache=cache), meter=meter)
    assert meter.forwards == STEPS and meter.rows == TOKENS // BLOCK * length + inside


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("threshold", [None, 0.02])
def test_all_refreshed_every_time_is_the_run_without_cache(
    cache: str, threshold: float | None
) -> None:
    of = model("llada")
    given = options(of, threshold=threshold)
    plain = generate(of, asked(of), given)
    found = generate(of, asked(of), given.changed(kv_cache=cache, refresh=1, refresh_prompt=1))
    for index in plain.generated():
        np.testing.assert_array_equal(found.segments[index].tokens, plain.segments[index].tokens)


def test_a_cache_of_blocks_is_for_commits_only() -> None:
    of = model("llada")
    given = GenerationOptions.defaults(of.config, "text", stepper="jump", kv_cache="dual")
    with pytest.raises(UsageError, match="kv_cache 'dual' is for the stepper commit: take another"):
        generate(of, asked(of), given)
