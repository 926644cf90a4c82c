"""Properties of the commit kernel, whatever the logits; recorded runs are in tests/published."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.commit import (
    chosen,
    even_counts,
    gumbel,
    kept_masked,
    noised,
    propose,
    score_temperature,
    step_count,
    truncated,
    turns,
)
from tests.flow.tables import tried

COUNTS = st.sampled_from(["even", "cosine", "linear", "time"])
SCORES = st.sampled_from(["probability", "log_probability", "margin", "entropy", "random"])
seeds = st.integers(0, 2**32)


def logits_of(seed: int, rows: int, vocabulary: int = 11) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 3, (rows, vocabulary)).astype(np.float32)


@tried
@given(
    seed=seeds, count=COUNTS, score=SCORES, early=st.booleans(),
    threshold=st.sampled_from([0, 0.4]),
    shape=st.sampled_from([(12, 4, 6), (12, 12, 5), (8, 2, 8), (9, 3, 3)]),
)  # fmt: skip
def test_a_whole_run_writes_every_row_once_and_never_outside_its_block(
    seed: int, count: Any, score: Any, early: bool, threshold: float, shape: tuple[int, int, int]
) -> None:
    rows, block, steps = shape
    rule = CommitConfig(count, score, block=block, early=early, threshold=threshold)
    if count == "even" and steps % (rows // block):
        steps = rows // block
    mask, total, written_rows = 99, 0, 0
    x, generator = np.full(rows, mask), np.random.default_rng(seed)
    for turn in turns(rule, rows, steps):
        masked = x == mask
        total = int(masked[turn.start : turn.stop].sum()) if turn.step == 0 else total
        eligible = masked & (np.arange(rows) < turn.stop)
        found = propose(logits_of(seed + turn.step, rows), rule, 0.7, gumbel_of(generator, rows))
        ranked = noised(found.score, rule, 0.0, generator.random(rows))
        number = step_count(rule, total, int(eligible.sum()), turn.step, turn.steps)
        written = chosen(ranked, eligible, number, threshold)
        assert not written[turn.stop :].any()
        assert not (written & ~masked).any()
        x = np.where(written, found.x_1, x)
        written_rows += int(written.sum())
        if turn.step == turn.steps - 1 and not threshold:
            assert (x[: turn.stop] != mask).all()
    assert written_rows == (x != mask).sum()
    if not threshold:
        assert written_rows == rows


def gumbel_of(generator: np.random.Generator, rows: int) -> Any:
    return gumbel(generator.random((rows, 11))).__getitem__


@tried
@given(masked=st.integers(0, 5000), steps=st.integers(1, 300))
def test_even_counts_sum_to_the_masks(masked: int, steps: int) -> None:
    found = even_counts(masked, steps)
    assert sum(found) == masked
    assert len(found) == steps
    assert max(found) - min(found) <= 1


@tried
@given(count=COUNTS, total=st.integers(1, 400), steps=st.integers(1, 60), early=st.booleans())
def test_counts_of_every_kind_sum_to_the_masks(
    count: Any, total: int, steps: int, early: bool
) -> None:
    rule, left = CommitConfig(count, early=early), total
    for step in range(steps):
        number = min(left, step_count(rule, total, left, step, steps))
        assert number >= 0
        left -= number
    assert left == 0


@tried
@given(seed=seeds, rows=st.integers(1, 30))
def test_a_threshold_of_1_commits_the_best_one(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    score, eligible = generator.random(rows), generator.random(rows) < 0.6
    written = chosen(score, eligible, 0, 1.0)
    if not eligible.any():
        assert not written.any()
        return
    assert written.sum() == 1
    assert score[written][0] == score[eligible].max()


@tried
@given(seed=seeds, rows=st.integers(1, 30), threshold=st.floats(0.01, 0.99))
def test_a_threshold_commits_all_over_it(seed: int, rows: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    score, eligible = generator.random(rows), generator.random(rows) < 0.6
    over = eligible & (score > threshold)
    written = chosen(score, eligible, 0, threshold)
    np.testing.assert_array_equal(written, over if over.any() else chosen(score, eligible, 1))


@tried
@given(seed=seeds, rows=st.integers(1, 30), count=st.integers(0, 40))
def test_the_best_are_chosen_and_of_equals_the_earlier(seed: int, rows: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    score = generator.integers(0, 4, rows).astype(np.float64)
    score[generator.random(rows) < 0.1] = -np.inf
    eligible = generator.random(rows) < 0.6
    order = sorted(np.flatnonzero(eligible), key=lambda row: (-score[row], row))
    expected = np.isin(np.arange(rows), order[:count])
    np.testing.assert_array_equal(chosen(score, eligible, count), expected)
    torched = chosen(torch.tensor(score), torch.tensor(eligible), count)
    np.testing.assert_array_equal(torched.numpy(), expected)


@tried
@given(
    seed=seeds, score=SCORES, temperature=st.sampled_from([0.0, 0.6, 1.0]), nucleus=st.booleans()
)
def test_numpy_and_torch_propose_the_same(
    seed: int, score: Any, temperature: float, nucleus: bool
) -> None:
    rule = CommitConfig("even", score, tempered=True, last=(3,), never=(5,))
    if nucleus:
        rule = dataclasses.replace(rule, top_k=4, top_p=0.8)
    logits, noise = logits_of(seed, 6), gumbel(np.random.default_rng(seed).random((6, 11)))
    ours = propose(logits, rule, temperature, noise.__getitem__)
    theirs = propose(torch.tensor(logits), rule, temperature, torch.tensor(noise).__getitem__)
    np.testing.assert_array_equal(theirs.x_1.numpy(), ours.x_1)
    np.testing.assert_allclose(theirs.score.numpy(), ours.score, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(theirs.gap.numpy(), ours.gap, rtol=1e-9, atol=1e-12)
    assert not np.isin(ours.x_1, 5).any()


def test_gumbel_draws_have_the_probabilities_of_the_tempered_softmax() -> None:
    logits, temperature, rows = np.array([0.3, -0.5, 1.2, 0.0], np.float32), 0.7, 60_000
    noise = gumbel(np.random.default_rng(3).random((rows, 4)))
    found = propose(np.tile(logits, (rows, 1)), CommitConfig(), temperature, noise.__getitem__)
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    shares = np.bincount(found.x_1, minlength=4) / rows
    assert np.abs(shares - expected).max() < 0.01
    plain = np.exp(logits) / np.exp(logits).sum()  # the score sees no temperature
    np.testing.assert_allclose(found.score, plain[found.x_1], rtol=1e-6)


def test_the_recorded_float32_schedule_is_kept() -> None:
    assert kept_masked(16, 3, 6) == 7  # cos(π/3) in float32 falls short of a half
    assert [kept_masked(10, step, 4, "linear") for step in range(4)] == [7, 5, 2, 0]


def test_the_temperature_of_the_score_compounds() -> None:
    rule = CommitConfig("cosine", "log_probability", score_noise="compounding")
    found = [score_temperature(rule, 1.0, step, 4) for step in range(4)]
    assert found == pytest.approx([3 / 4, 3 / 8, 3 / 32, 0.0])


def test_truncation_keeps_the_likeliest_and_equals_of_the_last() -> None:
    logits = np.log(np.array([[0.6, 0.2, 0.1, 0.1]]))
    assert np.isfinite(truncated(logits, 0, 0.5)).tolist() == [[True, False, False, False]]
    assert np.isfinite(truncated(logits, 3, 1.0)).tolist() == [[True, True, True, True]]


def test_a_large_vocabulary_needs_no_canvas_of_float64() -> None:
    logits = np.zeros((64, 126_464), np.float32)
    tracemalloc.start()
    propose(logits, CommitConfig(), 1.0, lambda part: np.zeros((part.stop - part.start, 126_464)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 126_464 * 8


def test_numbers_that_do_not_divide_are_named_with_those_that_would() -> None:
    rule = CommitConfig("even", block=32)
    with pytest.raises(
        UsageError,
        match=r"^an answer of 100 tokens is no whole number of blocks of 32: ask for 96 or 128",
    ):
        turns(rule, 100, 32)
    with pytest.raises(
        UsageError, match=r"^30 steps are not shared evenly by 4 blocks: ask for 28 or 32 steps"
    ):
        turns(rule, 128, 30)
    with pytest.raises(UsageError, match=r"^2 steps for 4 blocks: expected at least one step each"):
        turns(CommitConfig("time", block=32), 128, 2)


def test_logits_that_hold_no_symbol_are_refused() -> None:
    logits = np.full((2, 3), -np.inf)
    with pytest.raises(
        InputError, match=r"^logits: the largest of row 0 is -inf, expected a finite"
    ):
        propose(logits, CommitConfig())
    with pytest.raises(UsageError, match=r"^temperature 1.0 draws x_1, which needs noise$"):
        propose(np.zeros((1, 3)), CommitConfig(), 1.0)
