from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.guidance import guided
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.sampling import sample_x_1, truncated_weight
from tests.flow import reference
from tests.flow.tables import tried

# few distinct values, so that ties are common
logit_rows = st.lists(
    st.sampled_from([-np.inf, -3.0, -1.0, 0.0, 0.5, 2.0, 7.5]), min_size=1, max_size=12
).filter(lambda row: max(row) > -np.inf)


def kept_by_definition(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> dict[int, float]:
    """Symbol → probability of what top-k, then top-p keep, lower ids first among equals."""
    ranked = sorted(range(len(logits)), key=lambda x: (-logits[x], x))[: top_k or None]
    mass = {x: float(np.exp((logits[x] - logits[ranked[0]]) / temperature)) for x in ranked}
    total, kept, before = sum(mass.values()), dict[int, float](), 0.0
    for x in ranked:
        if not before < top_p * total:
            break
        kept[x] = mass[x]
        before += mass[x]
    return {x: weight / sum(kept.values()) for x, weight in kept.items() if weight > 0}


@tried
@given(
    row=logit_rows,
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_k=st.integers(0, 13),
    top_p=st.sampled_from([0.05, 0.37, 0.8, 1.0]),
)
def test_truncation_keeps_what_its_definition_keeps(
    row: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    expected = kept_by_definition(row, temperature, top_k, top_p)
    for logits in (np.array([row], dtype=np.float32), torch.tensor([row])):
        weight = np.asarray(truncated_weight(logits, temperature, top_k, top_p))[0]
        assert {int(x) for x in np.nonzero(weight)[0]} == set(expected)
        np.testing.assert_allclose(
            weight[list(expected)] / weight.sum(), list(expected.values()), rtol=1e-12
        )


@tried
@given(
    row=logit_rows,
    uniform=st.floats(0.0, 1.0, exclude_max=True),
    top_k=st.integers(0, 4),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
)
def test_the_draw_is_the_inverse_cdf_in_order_of_id(
    row: list[float], uniform: float, top_k: int, top_p: float
) -> None:
    probability = kept_by_definition(row, 1.0, top_k, top_p)
    drawn = int(sample_x_1(np.array([row]), np.array([uniform]), 1.0, top_k, top_p)[0])
    below = sum(p for x, p in probability.items() if x < drawn)
    assert drawn in probability
    assert below - 1e-12 <= uniform <= below + probability[drawn] + 1e-12


@tried
@given(row=logit_rows, uniform=st.floats(0.0, 1.0, exclude_max=True))
def test_temperature_0_and_top_1_are_the_argmax_with_the_lowest_id(
    row: list[float], uniform: float
) -> None:
    logits, draw, best = np.array([row, row]), np.array([uniform, uniform]), row.index(max(row))
    for options in (
        {"temperature": 0.0},
        {"top_k": 1},
        {"top_p": 1e-9},
        {"temperature": 1e-6, "top_p": 1e-9},
    ):
        assert sample_x_1(logits, draw, **options).tolist() == [best, best]
        assert sample_x_1(torch.tensor(logits), torch.tensor(draw), **options).tolist() == [
            best,
            best,
        ]


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.5}, {"temperature": 2.0, "top_k": 5}, {"top_p": 0.7}]
)
def test_draws_follow_the_softmax(options: dict[str, float]) -> None:
    draws, logits = 50_000, np.random.default_rng(1).standard_normal(10).astype(np.float32) * 2
    uniform = Noise(1).uniform(0, 0, Use.X_1, draws)[:, 0]
    ids = sample_x_1(np.tile(logits, (draws, 1)), uniform, **options)  # type: ignore[arg-type]
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | options
    expected = np.zeros(10)
    for x, p in kept_by_definition(logits.astype(np.float64).tolist(), **settings).items():  # type: ignore[arg-type]
        expected[x] = p
    assert ids.dtype == np.int64
    assert reference.total_variation(
        np.bincount(ids, minlength=10) / draws, expected
    ) < reference.sampling_bound(10, draws)


@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_huge_logits_neither_overflow_nor_vanish(scale: float) -> None:
    logits = np.array([[1.0, 1.0, -1.0]], dtype=np.float32) * scale
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert sample_x_1(logits, np.array([0.01])).tolist() == [0]
        assert sample_x_1(logits, np.array([0.75 if scale > 1 else 0.6])).tolist() == [1]


def test_the_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, uniform = (
        np.random.default_rng(2).standard_normal((50, 30)),
        Noise(2).uniform(0, 0, Use.X_1, 50)[:, 0],
    )
    whole = sample_x_1(logits, uniform, 0.8, 9, 0.9)
    monkeypatch.setattr("nextomni_edge.flow.arrays.CHUNK", 64)
    np.testing.assert_array_equal(sample_x_1(logits, uniform, 0.8, 9, 0.9), whole)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_no_distribution_is_refused(bad: float, temperature: float) -> None:
    logits = np.zeros((3, 4), dtype=np.float32)
    logits[1, 2] = bad
    with pytest.raises(
        InputError, match=f"logits: the largest of row 1 is {bad}, expected a finite number"
    ):
        sample_x_1(logits, np.zeros(3), temperature)
    logits[1] = -np.inf
    with pytest.raises(InputError, match="the largest of row 1 is -inf"):
        sample_x_1(logits, np.zeros(3), temperature)


def test_options_and_shapes_that_cannot_be_meant_are_refused() -> None:
    logits, uniform = np.zeros((2, 4)), np.zeros(2)
    for options, message in (
        ({"temperature": -1.0}, "temperature: -1.0"),
        ({"temperature": np.nan}, "temperature: nan"),
        ({"top_k": -1}, "top-k: -1"),
        ({"top_p": 0.0}, "top-p: 0.0"),
        ({"top_p": 1.1}, "top-p: 1.1"),
        ({"top_p": np.nan}, "top-p: nan"),
    ):
        with pytest.raises(UsageError, match=message):
            sample_x_1(logits, uniform, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"logits: shape \(4,\)"):
        sample_x_1(logits[0], uniform)
    with pytest.raises(InputError, match=r"uniform: shape \(3,\), expected \(2,\)"):
        sample_x_1(logits, np.zeros(3))


def test_guidance_extrapolates_from_the_unconditional_logits() -> None:
    conditional, unconditional = np.float32([[1.0, 2.0]]), np.float32([[0.5, 4.0]])
    np.testing.assert_array_equal(guided(conditional, unconditional, 0.0), conditional)
    guided_logits = guided(conditional, unconditional, 5.0)
    np.testing.assert_array_equal(guided_logits, np.float32([[3.5, -8.0]]))
    assert guided_logits.dtype == np.float32
    np.testing.assert_array_equal(
        guided(torch.tensor(conditional), torch.tensor(unconditional), 5.0).numpy(), guided_logits
    )
    for scale in (-0.1, np.nan, np.inf):
        with pytest.raises(UsageError, match="guidance"):
            guided(conditional, unconditional, scale)
    with pytest.raises(InputError, match="expected one"):
        guided(conditional, unconditional[:, :1], 1.0)
