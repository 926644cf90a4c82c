"""Rows kept by id: the same rows, computed once, within the bytes allowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from nextomni_edge.flow.jump import may_jump, move
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.noise import Noise, Use
from nextomni_edge.flow.row_cache import RowCache
from nextomni_edge.flow.schedule import MetricSchedule
from tests.flow.tables import STEPS, Step, random_table, tied_table

SCHEDULE = MetricSchedule()
ROW = 4 * 32  # bytes of a row of 32 symbols


def kept(rows: int) -> tuple[MetricPath, RowCache]:
    path = MetricPath(random_table(3, 32), SCHEDULE, kept_bytes=rows * ROW)
    assert path.metric.kept is not None
    return path, path.metric.kept


@pytest.mark.parametrize("rows", [1, 5, 32])
def test_kept_rows_are_the_computed_ones(rows: int) -> None:
    path, _ = kept(rows)
    rng = np.random.default_rng(1)
    for _ in range(50):
        ids = rng.permutation(32)[: rng.integers(1, 9)]
        np.testing.assert_array_equal(path.metric.rows(ids), path.metric.distance(ids))


def test_the_row_that_was_not_asked_for_longest_goes_first() -> None:
    path, cache = kept(2)
    for ids in ([1], [2], [1], [3], [1], [2]):
        path.metric.rows(np.array(ids))
    assert (cache.hits, cache.misses) == (2, 4)


def test_more_rows_than_fit_are_not_kept() -> None:
    path, cache = kept(2)
    path.metric.rows(np.array([1, 2, 3]))
    path.metric.rows(np.array([1, 2]))
    assert (cache.hits, cache.misses) == (0, 2)


def test_rows_that_were_fetched_before_are_found() -> None:
    path, cache = kept(4)
    path.metric.prefetch(np.array([3, 9, 11]))
    path.metric.prefetch(np.arange(5))  # more than fit: as if not asked
    np.testing.assert_array_equal(
        path.metric.rows(np.array([9, 11])), path.metric.distance(np.array([9, 11]))
    )
    assert (cache.hits, cache.misses) == (2, 3)


def test_what_is_given_may_be_changed() -> None:
    path, _ = kept(4)
    path.metric.rows(np.array([7]))[:] = -1.0
    np.testing.assert_array_equal(
        path.metric.rows(np.array([7])), path.metric.distance(np.array([7]))
    )


def test_torch_rows_are_kept_too() -> None:
    path = MetricPath(torch.tensor(random_table(3, 32)), SCHEDULE, kept_bytes=4 * ROW)
    for _ in range(2):
        assert torch.equal(
            path.metric.rows(torch.tensor([3, 9])), path.metric.distance(torch.tensor([3, 9]))
        )
    assert path.metric.kept is not None and path.metric.kept.hits == 2


def test_threads_share_a_cache() -> None:
    path, _ = kept(3)

    def ask(seed: int) -> bool:
        ids = np.random.default_rng(seed).permutation(32)[:3]
        return np.array_equal(path.metric.rows(ids), path.metric.distance(ids))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(400)))


@pytest.mark.parametrize("rule", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("table", [random_table(5, 32), tied_table(5, 32)], ids=["random", "tied"])
def test_a_step_is_the_same_with_and_without(rule: Step, table: np.ndarray) -> None:
    path = MetricPath(table, SCHEDULE, kept_bytes=9 * ROW)
    rng = np.random.default_rng(2)
    for step in range(32):
        x_t, x_1 = rng.integers(0, 32, (2, 40))
        jump, target = (
            Noise(step).uniform(0, step, use, 40)[:, 0] for use in (Use.JUMP, Use.TARGET)
        )
        together = [
            rule(x_t, x_1, step / 32, 1 / 32, p, jump, target, False)
            for p in (path, path.ruled("euler", keep_rows=False))
        ]
        np.testing.assert_array_equal(*together)


@pytest.mark.parametrize("rise", [0.0, 1e-3, 0.3, 5.0, float("inf")])
def test_a_row_that_may_not_jump_never_does(monkeypatch: pytest.MonkeyPatch, rise: float) -> None:
    """With the bound switched off, the step moves no row that the bound would have kept from it."""
    path, rng = MetricPath(tied_table(6, 32), SCHEDULE), np.random.default_rng(4)
    x_t, x_1 = rng.integers(0, 32, (2, 4000))
    jump, target = rng.random((2, 4000))
    allowed = may_jump(x_t, x_1, rise, path.metric, jump)
    assert not allowed.all()
    monkeypatch.setattr("nextomni_edge.flow.jump.may_jump", lambda x_t, x_1, *rest: x_1 != x_t)
    for beta in (0.0, 1.0, 30.0, 1e30):
        moved = move(x_t, x_1, beta, rise, path.metric, jump, target) != x_t
        assert not (moved & ~allowed).any()
