"""A writer that dies, or finds no room, leaves the old bundle or none; the next one succeeds and
clears away what was left."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge import files
from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError, UsageError
from tests.bundle.build import small_bundle

OLD, NEW = np.zeros((64, 8), np.float32), np.ones((64, 8), np.float32)
# Writers are forked off a process that has loaded this file and nothing else: this one may run
# other tests' threads.
WRITERS = multiprocessing.get_context("forkserver")
WRITERS.set_forkserver_preload([__name__])


def weight(path: Path) -> float:
    """Which of the two bundles stands at `path`; opening it checks it whole."""
    (file,) = (Bundle.open(path).path / "weights").iterdir()
    return float(np.frombuffer(file.read_bytes(), np.float32)[0])


def exit_code(target: Callable[..., object], *arguments: object) -> int | None:
    """How a writer ended."""
    writer = WRITERS.Process(target=target, args=arguments)
    writer.start()
    writer.join()
    return writer.exitcode


def write_until_killed(path: Path, after: float) -> None:
    writer = WRITERS.Process(target=small_bundle, args=(path, True, NEW))
    writer.start()
    time.sleep(after)
    writer.kill()
    writer.join()


@pytest.fixture(scope="module")
def duration(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that one write takes in a process of its own, start included."""
    path = tmp_path_factory.mktemp("timed") / "b"
    assert exit_code(small_bundle, path, True, NEW) == 0  # starts what they are forked from
    began = time.monotonic()
    assert exit_code(small_bundle, path, True, NEW) == 0
    return time.monotonic() - began


@pytest.mark.parametrize("moment", range(10))
def test_a_writer_killed_at_a_random_moment(tmp_path: Path, duration: float, moment: int) -> None:
    chance = random.Random(moment)
    fresh, replaced = tmp_path / "fresh", small_bundle(tmp_path / "replaced", weight=OLD)
    write_until_killed(fresh, chance.uniform(0, duration))
    write_until_killed(replaced, chance.uniform(0, duration))
    assert not fresh.exists() or weight(fresh) == 1.0
    assert weight(replaced) in (0.0, 1.0)
    for path in (fresh, replaced):
        assert weight(small_bundle(path, overwrite=True, weight=NEW)) == 1.0
    assert sorted(tmp_path.iterdir()) == [fresh, replaced]


def die_after(calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """The function, at whose given call the process is killed once it is done."""
    left = iter(range(calls))

    def dying(*args: object, **options: object) -> object:
        result = function(*args, **options)
        if next(left) == calls - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return dying


def write_dying(path: Path, name: str, calls: int, exchange: bool) -> None:
    if not exchange:
        setattr(files, "_exchange", lambda one, other: False)  # noqa: B010  (a system that cannot exchange two names)
    owner: object = Path if name == "rename" else files
    setattr(owner, name, die_after(calls, getattr(owner, name)))
    small_bundle(path, overwrite=True, weight=NEW)


@pytest.mark.parametrize("name", ["_exchange", "rename"], ids=["exchanged", "old one aside"])
def test_a_writer_killed_within_the_exchange_leaves_the_new_bundle(
    tmp_path: Path, name: str
) -> None:
    path = small_bundle(tmp_path / "b", weight=OLD)
    assert exit_code(write_dying, path, name, 1, True) == -signal.SIGKILL and weight(path) == 1.0
    small_bundle(path, overwrite=True, weight=OLD)
    assert weight(path) == 0.0 and [*tmp_path.iterdir()] == [path]


def test_where_names_cannot_be_exchanged_the_next_writer_restores_the_old_bundle(
    tmp_path: Path,
) -> None:
    path = small_bundle(tmp_path / "b", weight=OLD)
    assert exit_code(write_dying, path, "rename", 1, False) == -signal.SIGKILL
    with pytest.raises(
        InputError,
        match=r"an interrupted overwrite left the old one at .*/\.b\.old: rename it back$",
    ):
        Bundle.open(path)
    with pytest.raises(UsageError, match="exists; choose another name or pass --overwrite"):
        small_bundle(path)
    assert weight(path) == 0.0
    small_bundle(path, overwrite=True, weight=NEW)
    assert weight(path) == 1.0 and [*tmp_path.iterdir()] == [path]


def write_within(path: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    refused(path, "File too large")


def refused(path: Path, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        small_bundle(path, overwrite=True, weight=np.ones((1024, 64), np.float32))
    assert (
        str(raised.value)
        == f"{path}: cannot be written ({reason}); free some space or choose another place"
    )


@pytest.mark.parametrize("limit", [0, 300, 1_000, 10_000, 200_000])
def test_a_file_that_finds_no_room(tmp_path: Path, limit: int) -> None:
    path = small_bundle(tmp_path / "b", weight=OLD)
    for target in (path, tmp_path / "fresh"):
        assert exit_code(write_within, target, limit) == 0
    assert weight(path) == 0.0 and [*tmp_path.iterdir()] == [path]
    small_bundle(path, overwrite=True, weight=NEW)


@pytest.mark.small_disk(200)
def test_a_full_disk(small_disk: Path) -> None:
    path = small_bundle(small_disk / "b", weight=OLD)
    refused(path, "No space left on device")
    refused(small_disk / "fresh", "No space left on device")
    assert weight(path) == 0.0 and [*small_disk.iterdir()] == [path]
    assert weight(small_bundle(small_disk / "fresh", weight=NEW)) == 1.0
