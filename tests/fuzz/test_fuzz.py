"""The fuzzer itself: a few hundred inputs of each target, and that it finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzzer
from tests.fuzz.targets import TARGETS


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
