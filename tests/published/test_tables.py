"""How many rows each step writes: the recorded tables of all four families."""

from __future__ import annotations

import numpy as np
import pytest

from nextomni_edge.decoding import CommitConfig
from nextomni_edge.flow.commit import even_counts, gumbel, kept_masked, masked_share, step_count
from tests.published.goldens import arrays, close


def test_lladas_even_shares() -> None:
    golden = arrays("llada")
    pairs = golden["table.masked_steps"].tolist()
    for (masked, steps), row in zip(pairs, golden["table.num_transfer"], strict=True):
        np.testing.assert_array_equal(even_counts(masked, steps), row[:steps])


@pytest.mark.parametrize(("family", "name"), [("mmada", "mask_len"), ("lumina_dimoo", "keep_n")])
def test_the_cosine_in_float32(family: str, name: str) -> None:
    """At the released sizes too: up to 4,608 positions and 64 steps."""
    golden = arrays(family)
    table = golden[f"schedule.{name}"]
    sizes = zip(golden[f"schedule.{name}.N"], golden[f"schedule.{name}.steps"], table, strict=True)
    for total, steps, row in sizes:
        found = [kept_masked(int(total), step, int(steps)) for step in range(steps)]
        if name == "keep_n":  # theirs has the bounds in it
            found = [max(1, kept) for kept in found[:-1]] + [0]
        np.testing.assert_array_equal(found, row[:steps])


@pytest.mark.parametrize("count", ["cosine", "linear", "pow2", "sigmoid"])
def test_mmadas_schedules(count: str) -> None:
    """Theirs are never under 1e-6, which rounds down to no row."""
    golden = arrays("mmada")[f"schedule.{count}"]
    times = np.linspace(0, 1, 11, dtype=np.float32)
    close(np.array([masked_share(r, count) for r in times]), golden, 2e-6)
    for total in (16, 256, 1024):
        counts = [kept_masked(total, step, 10, count) for step in range(9)]
        np.testing.assert_array_equal(counts, np.floor(np.float32(total) * golden[1:10]))


@pytest.mark.parametrize(("masked", "steps"), [(260, 260), (50, 25), (64, 10)])
def test_dreams_counts(masked: int, steps: int) -> None:
    expected, left, found = arrays("dream")[f"smp.counts_{masked}_{steps}"], masked, list[int]()
    for step in range(steps):
        if left:
            found.append(step_count(CommitConfig("time"), masked, left, step, steps))
            left -= found[-1]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_lladas_noise_has_the_same_order(temperature: float) -> None:
    """Theirs is exp(l)/(−ln u)^T, ours its logarithm l + T·G."""
    golden = arrays("llada")
    np.testing.assert_array_equal(golden["gumbel.T0.0"], golden["gumbel.logits"])  # no noise
    ours = golden["gumbel.logits"] + temperature * gumbel(golden["gumbel.uniform"])
    np.testing.assert_allclose(np.exp(ours), golden[f"gumbel.T{temperature}"], rtol=1e-9)
