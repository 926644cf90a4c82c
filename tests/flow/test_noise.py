from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import UsageError
from nextomni_edge.flow.noise import Noise, Use
from tests.flow.tables import start, tried

DRAWS = 100_000


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), written
    from the paper."""
    word, (k0, k1), (x0, x1, x2, x3) = (1 << 64) - 1, key, counter
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * x0, 0xCA5A826395121157 * x2
        x0, x1, x2, x3 = (
            (second >> 64) ^ x1 ^ k0,
            second & word,
            (first >> 64) ^ x3 ^ k1,
            first & word,
        )
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & word, (k1 + 0xBB67AE8584CAA73B) & word
    return x0, x1, x2, x3


@tried
@given(
    seed=st.integers(0, 2**64 - 1),
    segment=st.integers(0, 2**40),
    step=st.integers(0, 2**40),
    use=st.sampled_from(Use),
    positions=st.integers(1, 12),
    codes=st.integers(1, 4),
)
def test_every_value_is_philox_of_what_it_is_for(
    seed: int, segment: int, step: int, use: Use, positions: int, codes: int
) -> None:
    values = Noise(seed).uniform(segment, step, use, positions, codes)
    for position, code in itertools.product(range(positions), range(codes)):
        word = philox((seed, int(use)), (1 + position // 4, code, step, segment))[position % 4]
        assert values[position, code] == (word >> 11) / 2**53


def test_the_values_of_a_seed_never_change() -> None:
    names = [
        "START", "X_1", "JUMP", "TARGET", "SYMBOL", "SCORE", "SPECTRUM", "PHASE", "BREATH",
    ]  # fmt: skip
    assert {use.name: int(use) for use in Use} == {name: at for at, name in enumerate(names)}
    expected = [[0.9591886253077674, 0.2095527141383794], [0.8765099748636109, 0.8556101240162215]]
    np.testing.assert_array_equal(Noise(7).uniform(1, 2, Use.JUMP, 2, 2), expected)


@tried
@given(seed=st.integers(0, 2**64 - 1), row=st.integers(0, 9), vocabulary=st.integers(0, 70))
def test_a_row_of_symbols_is_the_column_of_its_sub_code(
    seed: int, row: int, vocabulary: int
) -> None:
    noise = Noise(seed)
    column = noise.uniform(2, 3, Use.SYMBOL, vocabulary, row + 1)[:, row]
    np.testing.assert_array_equal(noise.symbols(2, 3, Use.SYMBOL, row, vocabulary), column)


@tried
@given(positions=st.integers(0, 70), codes=st.integers(0, 5), more=st.integers(0, 70))
def test_more_positions_or_codes_never_change_the_earlier_values(
    positions: int, codes: int, more: int
) -> None:
    noise = Noise(3)
    few, many = (
        noise.uniform(1, 2, Use.TARGET, positions, codes),
        noise.uniform(1, 2, Use.TARGET, positions + more, codes + more),
    )
    np.testing.assert_array_equal(few, many[:positions, :codes])
    np.testing.assert_array_equal(
        start(noise, 1, positions, codes, 999),
        start(noise, 1, positions + more, codes + more, 999)[:positions, :codes],
    )


def test_the_order_of_calls_does_not_matter() -> None:
    calls = list(itertools.product((0, 1), (0, 5), Use))
    noise = Noise(9)
    forward = {call: noise.uniform(*call, 17, 3) for call in calls}
    for call in reversed(calls):
        np.testing.assert_array_equal(noise.uniform(*call, 17, 3), forward[call])


def test_every_argument_makes_another_stream() -> None:
    streams = [
        Noise(seed).uniform(segment, step, use, 50, 2)
        for seed, segment, step in itertools.product((0, 1), repeat=3)
        for use in Use
    ]
    columns = np.concatenate(streams, axis=1)
    assert len(np.unique(columns)) == columns.size
    correlation = np.corrcoef(
        np.concatenate([Noise(4).uniform(0, 0, use, DRAWS, 2) for use in Use], axis=1).T
    )
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize("use", Use)
def test_values_are_uniform(use: Use) -> None:
    values = np.sort(Noise(5).uniform(2, 3, use, DRAWS)[:, 0])
    assert values[0] >= 0.0
    assert values[-1] < 1.0
    steps = np.arange(DRAWS + 1) / DRAWS
    kolmogorov_smirnov = max(np.abs(values - steps[1:]).max(), np.abs(values - steps[:-1]).max())
    assert kolmogorov_smirnov * np.sqrt(DRAWS) < 2.2  # 2·exp(−2·2.2²) = 1.2e-4
    pairs = np.histogram2d(*Noise(5).uniform(2, 3, use, DRAWS).reshape(2, -1), bins=16)[0]
    assert ((pairs - pairs.mean()) ** 2 / pairs.mean()).sum() < 255 + 4 * np.sqrt(2 * 255)


@pytest.mark.parametrize("vocabulary", [1, 2, 97, 4096])
def test_the_start_is_uniform_over_the_symbols(vocabulary: int) -> None:
    ids = start(Noise(6), 0, DRAWS, 2, vocabulary)
    assert ids.dtype == np.int64
    assert ids.min() >= 0
    counts = np.bincount(ids.ravel(), minlength=vocabulary)
    assert len(counts) == vocabulary
    expected, freedom = 2 * DRAWS / vocabulary, vocabulary - 1
    assert ((counts - expected) ** 2 / expected).sum() <= freedom + 4 * np.sqrt(2 * freedom)


def test_the_largest_uniform_never_starts_past_the_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Noise, "uniform", lambda *_: np.full((4, 1), 1.0 - 2.0**-53))
    for vocabulary in (1, 2, 3, 5, 97, 4096, 4097, 131_071, 131_072, 152_064):
        assert start(Noise(0), 0, 4, 1, vocabulary).max() == vocabulary - 1


def test_arguments_that_no_counter_word_holds_are_refused() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(UsageError, match="noise: seed is"):
            Noise(seed)
    with pytest.raises(UsageError, match="noise: step is -1"):
        Noise(0).uniform(0, -1, Use.X_1, 4)
