"""OMP_NUM_THREADS, whatever is in it, and the threads of what is recorded."""

from __future__ import annotations

import pytest

from nextomni_edge.threads import MAX_THREADS, fixed_threads, threads


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("3", 3), ("1000000", MAX_THREADS), ("9" * 5000, 0), ("-1", 0), ("", 0), ("4,2", 0),
        ("٣", 0), ("1e3", 0),
    ],
)  # fmt: skip
def test_threads_are_a_number_that_a_machine_can_have(
    monkeypatch: pytest.MonkeyPatch, value: str, count: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads() == count


def test_a_block_can_fix_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with fixed_threads(1):
        assert threads() == 1
    assert threads() == 2
