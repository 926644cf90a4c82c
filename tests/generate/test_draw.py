"""Margins of draws, against values worked out by hand."""

from __future__ import annotations

import numpy as np

from nextomni_edge.generate.draw import decision_margin
from nextomni_edge.generate.options import GenerationOptions

LOGITS = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]], np.float32))


def test_greedy_margin_is_the_gap_of_the_two_largest_logits() -> None:
    found = decision_margin(LOGITS, np.zeros(2), GenerationOptions(temperature=0.0))
    np.testing.assert_allclose(found, np.log([2.0, 3.5]), rtol=1e-6)


def test_a_tie_has_no_margin() -> None:
    assert (
        decision_margin(
            np.ones((1, 4), np.float32), np.zeros(1), GenerationOptions(temperature=0.0)
        )
        == 0.0
    )


def test_sampled_margin_is_the_distance_to_the_nearest_edge() -> None:
    found = decision_margin(LOGITS, np.array([0.6, 0.05]), GenerationOptions())
    np.testing.assert_allclose(found, [0.1, 0.15], rtol=1e-5)


def test_edges_are_those_of_what_truncation_leaves() -> None:
    found = decision_margin(LOGITS, np.array([0.6, 0.25]), GenerationOptions(top_k=2))
    np.testing.assert_allclose(found, [2 / 3 - 0.6, 0.25 - 2 / 9], rtol=1e-5)


def test_temperature_moves_the_edges() -> None:
    found = decision_margin(LOGITS[:1], np.array([0.6]), GenerationOptions(temperature=0.5))
    np.testing.assert_allclose(found, [2 / 3 - 0.6], rtol=1e-5)


def test_one_symbol_alone_cannot_be_missed() -> None:
    assert decision_margin(LOGITS[:1], np.array([0.6]), GenerationOptions(top_k=1)) == np.inf
    assert (
        decision_margin(
            np.zeros((1, 1), np.float32), np.zeros(1), GenerationOptions(temperature=0.0)
        )
        == np.inf
    )
