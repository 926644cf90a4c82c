"""When two runs count as the same: NaN never, ties only where a tie was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nextomni_edge.verify import LIMIT, TIE, TaskResult
from nextomni_edge.verify.comparison import error, first_differences, within
from nextomni_edge.verify.trajectory import Trajectory, compare


@pytest.mark.parametrize("limit", [0.0, LIMIT, 1e9])
def test_nan_is_within_no_limit(limit: float) -> None:
    assert not within(float("nan"), limit)
    assert not within(error(np.array([np.nan]), np.array([1.0])), limit)
    assert not within(error(np.array([1.0]), np.array([np.nan])), limit)


def test_another_shape_is_within_no_limit() -> None:
    assert not within(error(np.zeros((2, 1)), np.zeros((1, 2))), 1e9)


def test_the_error_is_relative_to_the_scale_but_never_below_one() -> None:
    assert error(np.array([100.5, 0.0]), np.array([100.0, 0.0])) == pytest.approx(0.005)
    assert error(np.array([0.02]), np.array([0.01])) == pytest.approx(0.01)


def test_only_the_first_differing_sub_code_of_a_position_counts() -> None:
    found, expected = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1, 9, 9], [4, 5, 6]])
    assert first_differences(found, expected).tolist() == [[0, 1]]
    assert first_differences(np.array([1, 2]), np.array([1, 3])).tolist() == [[1, 0]]


def trajectory() -> Trajectory:
    """Two steps of one segment of two positions with two sub-codes."""
    x_t = np.arange(8).reshape(2, 2, 2)
    return Trajectory((x_t,), (x_t + 10,), (np.full((2, 2, 2), 0.5),), (x_t[-1],), ())


def changed(**arrays: np.ndarray) -> Trajectory:
    return dataclasses.replace(trajectory(), **{name: (array,) for name, array in arrays.items()})


def test_the_same_run_has_no_failure() -> None:
    result = TaskResult()
    assert compare("task", trajectory(), trajectory(), result) == []
    assert (result.steps, result.draws, result.near_ties, result.smallest_margin) == (2, 8, [], 0.5)


def other_draw() -> np.ndarray:
    x_1 = trajectory().x_1[0].copy()
    x_1[0, 1, 0] += 1
    return x_1


def test_another_draw_without_a_tie_fails_and_is_named() -> None:
    (failure,) = compare("task", changed(x_1=other_draw()), trajectory(), TaskResult())
    assert failure.startswith(
        "task: x_1 differs at step 0, segment 0, row 1, sub-code 0, where no tie was near"
    )


def test_another_draw_on_a_tie_is_listed_and_ends_the_comparison() -> None:
    margins = np.full((2, 2, 2), 0.5)
    margins[0, 1, 0] = TIE / 2
    result = TaskResult()
    assert compare("task", changed(x_1=other_draw()), changed(margins=margins), result) == []
    assert [(tie.where, tie.margin) for tie in result.near_ties] == [
        ("step 0, segment 0, row 1, sub-code 0", TIE / 2)
    ]
    assert result.steps == 1


def test_float16_parts_at_wider_ties_and_no_wider() -> None:
    for margin, failures in ((0.5, 1), (1e-2, 0)):
        margins = np.full((2, 2, 2), 0.5)
        margins[0, 1, 0] = margin
        result = TaskResult(arithmetic="float16")
        assert (
            len(compare("task", changed(x_1=other_draw()), changed(margins=margins), result))
            == failures
        )


def test_a_draw_that_float16_changed_comes_with_what_can_be_done() -> None:
    for arithmetic, advised in (("float16", True), ("float32", False)):
        (failure,) = compare(
            "task", changed(x_1=other_draw()), trajectory(), TaskResult(arithmetic=arithmetic)
        )
        assert ("export with --precision float32, or accept" in failure) == advised


def test_a_margin_that_is_nan_excuses_nothing() -> None:
    margins = np.full((2, 2, 2), np.nan)
    assert compare("task", changed(x_1=other_draw()), changed(margins=margins), TaskResult()) != []


def test_another_token_after_the_same_draws_fails() -> None:
    x_t = trajectory().x_t[0].copy()
    x_t[1, 0, 0] += 1
    (failure,) = compare("task", changed(x_t=x_t), trajectory(), TaskResult())
    assert (
        failure
        == "task: x_t of segment 0 differs at step 1 though every draw before it is the same"
    )


def test_fewer_steps_and_other_final_tokens_fail() -> None:
    short = Trajectory(
        *(tuple(array[:1] for array in part) for part in dataclasses.astuple(trajectory())[:3]),
        trajectory().tokens,
        (),
    )
    assert compare("task", short, trajectory(), TaskResult()) == [
        "task: 1 steps were run, expected 2"
    ]
    assert compare("task", changed(tokens=np.zeros((2, 2), int)), trajectory(), TaskResult()) == [
        "task: the tokens at the end differ though every step is the same"
    ]
