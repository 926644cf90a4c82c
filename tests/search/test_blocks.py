"""The packed INT8 copies: they follow what is put and removed, and choose what brute force does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextomni_edge.search import blocks
from nextomni_edge.search.table import Entry, Table, Window, open_table

WIDTH = 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four places a block, so that few windows fill several."""
    monkeypatch.setattr(blocks, "BYTES", 4 * WIDTH)


def unit(generator: np.random.Generator) -> np.ndarray:
    row: np.ndarray = generator.normal(size=WIDTH).astype(np.float32)
    return row / np.linalg.norm(row)


def put(table: Table, name: str, rows: list[np.ndarray]) -> None:
    windows = [Window(float(n), float(n + 1), row) for n, row in enumerate(rows)]
    kind = "audio" if name < "4" else "text"
    table.put(Entry(name, kind, name, 1, 1, 1), windows)


def blocks_of(path: Path) -> int:
    with open_table(path, "m") as table:
        return int(table._rows("SELECT count(*) FROM blocks")[0][0])


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**31),
    changes=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=30),
)
def test_after_any_changes_the_nearest_are_those_of_brute_force(
    tmp_path: Path, seed: int, changes: list[tuple[int, int]]
) -> None:
    """A change is a file and how many windows it has now; without any it is removed."""
    generator, kept = np.random.default_rng(seed), dict[str, list[np.ndarray]]()
    path = tmp_path / f"{seed}.{len(changes)}"
    path.unlink(missing_ok=True)
    with open_table(path, "m", WIDTH) as table:
        for file, count in changes:
            name = str(file)
            kept[name] = [unit(generator) for _ in range(count)]
            put(table, name, kept[name]) if count else table.remove([name])
        table.save()
    query = unit(generator)
    for kind, least in ((None, "0"), ("text", "4")):
        exact = {
            name: max(float(row @ query) for row in rows)
            for name, rows in kept.items()
            if rows and (kind is None or name >= least)
        }
        with open_table(path, "m") as table:
            found = table.nearest(query, 9, kind)  # type: ignore[arg-type]
        assert [match.path for match in found] == sorted(exact, key=lambda name: -exact[name])
        for match in found:
            assert match.cosine == pytest.approx(exact[match.path], abs=1e-6)


def test_a_folder_that_changes_for_ever_keeps_its_size(tmp_path: Path) -> None:
    generator, path = np.random.default_rng(0), tmp_path / "index"
    for _ in range(30):
        with open_table(path, "m", WIDTH) as table:
            for file in range(3):
                put(table, str(file), [unit(generator) for _ in range(3)])
            table.save()
    assert blocks_of(path) <= 4  # of nine windows
    with open_table(path, "m") as table:
        table.remove(["0", "1", "2"])
        table.save()
    assert blocks_of(path) == 0


def test_blocks_that_name_windows_which_are_not_there_are_passed_over(tmp_path: Path) -> None:
    generator, path = np.random.default_rng(0), tmp_path / "index"
    rows = [unit(generator) for _ in range(3)]
    with open_table(path, "m", WIDTH) as table:
        put(table, "0", rows)
        table._rows("UPDATE blocks SET files = randomblob(length(files))")
        table.save()
    with open_table(path, "m") as table:
        assert {match.path for match in table.nearest(rows[0], 5)} <= {"0"}
        assert table.nearest(rows[0], 5, "image") == []
