"""The fuzzer itself: a few hundred inputs of each target, and that it finds what it is for."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzzer
from tests.fuzz.mutations import damaged
from tests.fuzz.targets import TARGETS


@pytest.mark.usefixtures("within_bounds")
@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_gives_our_own_errors_only(name: str) -> None:
    assert fuzzer.fuzz(name, TARGETS[name], 200, 60.0, seed=7) > 0


def test_an_error_that_is_not_ours_is_found_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzer, "FOUND", tmp_path)

    def reader(data: bytes) -> None:
        data.decode("ascii")

    with pytest.raises(SystemExit, match="UnicodeDecodeError"):
        fuzzer.fuzz("config", reader, 2000, 60.0, seed=0)
    with pytest.raises(UnicodeDecodeError):
        reader((tmp_path / "config").read_bytes())


def test_the_corpora_are_small() -> None:
    files = [path for path in fuzzer.CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == TARGETS.keys()
    assert sum(path.stat().st_size for path in files) < 400_000


def test_a_campaign_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzer, "CHUNK", 20)
    monkeypatch.setattr(fuzzer, "_stop_after", lambda _: None)  # the alarm is the test's own
    read = list[bytes]()
    monkeypatch.setitem(fuzzer.TARGETS, "config", read.append)
    state = tmp_path / "state.json"
    assert fuzzer.campaign("config", 40, 60.0, state) == 40
    first = list(read)
    assert fuzzer.campaign("config", 60, 60.0, state) == 60
    assert len(read) == 60 and set(read[41:]) - set(first)
    assert fuzzer.campaign("config", 60, 60.0, state) == 60 and len(read) == 60


def test_a_damaged_document_is_often_a_document_still() -> None:
    data = (fuzzer.CORPUS / "config" / "small.json").read_bytes()
    chance, whole = random.Random(0), 0
    for _ in range(200):
        try:
            json.loads(damaged(data, [data], chance))
            whole += 1
        except ValueError:
            continue
    assert whole > 80


def test_a_document_of_the_longest_numbers_can_be_damaged() -> None:
    data = json.dumps({"a": [10**400, -(10**400), 1e308, 7]}).encode()
    chance = random.Random(0)
    assert all(damaged(data, [data], chance) is not None for _ in range(2000))
