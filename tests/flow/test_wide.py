"""Wide metric tables: their distances, and that neither a chunk, a file nor other rows shift
them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nextomni_edge.errors import InputError
from nextomni_edge.flow.distance import MetricTable
from nextomni_edge.flow.metric import MetricPath
from nextomni_edge.flow.schedule import MetricSchedule
from nextomni_edge.flow.wide import WIDE, WideTable, table_of

SYMBOLS = 400
Table = NDArray[np.float32]


def near_equal(seed: int) -> Table:
    """Few clusters, whose rows differ in their last digits; a row of zeros, and equal rows."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((5, WIDE))[generator.integers(0, 5, SYMBOLS)]
    rows = rows + 1e-4 * generator.standard_normal(rows.shape)
    found = (rows * generator.uniform(0.1, 30, (SYMBOLS, 1))).astype(np.float32)
    found[3], found[8] = 0.0, found[7]
    return found


def drawn(seed: int) -> Table:
    return np.random.default_rng(seed).standard_normal((SYMBOLS, WIDE + 40), np.float32)


TABLES = {"near equal": near_equal, "drawn": drawn}


def of(table: Table, kept_bytes: int = 0) -> WideTable:
    found = table_of(table, kept_bytes)
    assert isinstance(found, WideTable)
    return found


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_distances_are_those_of_rows_in_long_double(kind: str, scale: float) -> None:
    table, ids = TABLES[kind](1) * np.float32(scale), np.arange(SYMBOLS)
    exact = table.astype(np.longdouble)
    norms = np.sqrt((exact**2).sum(axis=1, keepdims=True))
    units = exact / np.where(norms > 0, norms, 1)
    expected = np.stack([((units - row) ** 2).sum(axis=1) ** 2 for row in units])
    found = of(table)
    np.testing.assert_allclose(found.distance(ids), expected, rtol=1e-6, atol=1e-13)
    np.testing.assert_allclose(
        found.between(ids, ids[::-1]), expected[ids, ids[::-1]], rtol=1e-9, atol=1e-13
    )
    assert (found.distance(ids)[ids, ids] == 0.0).all()


@pytest.mark.parametrize("kind", TABLES)
def test_they_differ_from_stored_rows_by_their_rounding(kind: str) -> None:
    table, ids = TABLES[kind](2), np.arange(SYMBOLS)
    stored = MetricTable(table).distance(ids)
    np.testing.assert_allclose(of(table).distance(ids), stored, rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from([*TABLES]),
    ids=st.lists(st.integers(0, SYMBOLS - 1), min_size=1, max_size=30),
    chunk=st.sampled_from([WIDE, 7 * WIDE, 1 << 17]),
)
def test_neither_a_chunk_nor_other_rows_shift_a_distance(
    kind: str, ids: list[int], chunk: int
) -> None:
    """Rounding to float32 hides the library's order of summation."""
    found = of(TABLES[kind](3))
    whole = found.distance(np.arange(SYMBOLS))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(WideTable, "elements", chunk)
        np.testing.assert_allclose(found.distance(np.array(ids)), whole[ids], rtol=2e-7, atol=1e-13)


def test_equal_rows_have_no_distance_and_rows_are_kept() -> None:
    table = near_equal(5)
    found = of(table, 1 << 20)
    assert found.distance(np.array([7]))[0, 8] == 0.0
    ids = np.array([1, 2, 7])
    np.testing.assert_array_equal(found.rows(ids), found.distance(ids))
    assert found.without_kept_rows().kept is None and found.kept is not None


def test_a_path_steps_on_a_mapped_file_without_a_copy(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", drawn(2))
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    path = MetricPath(mapped, MetricSchedule())
    assert np.shares_memory(path.metric.table, mapped)
    generator = np.random.default_rng(0)
    x_t, x_1 = generator.integers(0, SYMBOLS, (2, 200))
    stored = MetricPath(drawn(2).astype(np.float64), MetricSchedule())
    for t in (0.2, 0.5, 0.9):
        uniforms = generator.uniform(size=(2, 200))
        moved = path.step(x_t, x_1, t, 0.02, *uniforms)
        np.testing.assert_array_equal(moved, stored.step(x_t, x_1, t, 0.02, *uniforms))
    assert (moved != x_t).sum() > 20


class Counted(np.ndarray[tuple[int, ...], np.dtype[np.float32]]):
    """A table that counts how many of its rows are read."""

    read = 0

    def __getitem__(self, key: object) -> NDArray[np.float32]:  # type: ignore[override]
        found = self.view(np.ndarray)[key]  # type: ignore[index]
        type(self).read += len(found)
        return np.asarray(found)


def test_nothing_is_read_before_a_distance_is_asked_for_and_nothing_twice() -> None:
    Counted.read = 0
    found = of(drawn(4).view(Counted))
    assert Counted.read == 0
    few = found.between(np.array([1, 2]), np.array([3, 1]))
    assert Counted.read == 4
    whole = of(drawn(4))
    np.testing.assert_array_equal(found.distance(np.array([5])), whole.distance(np.array([5])))
    assert Counted.read == 4 + 1 + SYMBOLS
    np.testing.assert_array_equal(few, whole.between(np.array([1, 2]), np.array([3, 1])))


def test_another_form_of_table_is_stored_normalised() -> None:
    table = drawn(0)
    for other in (table.astype(np.float64), table[:, : WIDE - 1]):
        assert type(table_of(other)) is MetricTable
    for value in (np.nan, np.inf):
        table[5, 7] = value
        for other in (table, table.astype(np.float64)):
            with pytest.raises(InputError, match="holds a value that is not finite"):
                table_of(other).distance(np.array([1]))
    with pytest.raises(InputError, match=r"shape \(0, 600\), expected"):
        table_of(np.zeros((0, 600), np.float32))
