"""OMP_NUM_THREADS, whatever is in it, and the threads of what is recorded."""

from __future__ import annotations

import os

import pytest

import nextomni_edge
from nextomni_edge.errors import UsageError
from nextomni_edge.runtimes.base import Execution, runtime
from nextomni_edge.threads import (
    bound_threads,
    environment_threads,
    fixed_threads,
    most_threads,
    threads,
)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("3", 3), ("1000000", most_threads()), ("9" * 5000, 0), ("-1", 0), ("", 0), ("4,2", 0),
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


def test_a_command_s_threads_are_of_this_process_for_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with environment_threads(1):
        assert threads() == 1 and os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.delenv("OMP_NUM_THREADS")
    with environment_threads(1024):
        assert threads() == most_threads()
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("value", ["1000000", "-5", "abc", "9" * 5000, ""])
def test_libraries_are_only_left_a_number_that_a_machine_can_have(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    bound_threads()
    left = os.environ.pop("OMP_NUM_THREADS", None)
    assert left == (str(most_threads()) if value == "1000000" else None)


def test_an_execution_s_threads_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert runtime("onnx").threads == 2
    assert runtime("onnx", Execution(threads=1)).threads == 1
    assert Execution(threads=3).of_format("onnx").threads == 3


@pytest.mark.parametrize("count", [0, -1, 1025, 2**70])
def test_the_front_door_refuses_threads_that_no_machine_has(count: int) -> None:
    with pytest.raises(UsageError, match=rf"threads is {count}, expected 1 to 1024"):
        nextomni_edge.load("nowhere", threads=count)
