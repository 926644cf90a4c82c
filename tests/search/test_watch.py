"""An index that follows its folder."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from nextomni_edge.search import INDEX_NAME
from nextomni_edge.search.update import Report
from nextomni_edge.search.watch import watch_index
from tests.fake_model import FakeModel


def test_what_comes_changes_and_goes_is_followed(tmp_path: Path, tiny_checkpoint: Path) -> None:
    model, stop = FakeModel(tiny_checkpoint), threading.Event()
    (tmp_path / "a.txt").write_text("a cat", encoding="utf-8")
    os.utime(tmp_path / "a.txt", (1_700_000_000, 1_700_000_000))
    reports = list[Report]()

    def follow() -> None:
        reports.extend(watch_index(tmp_path, tmp_path / INDEX_NAME, model, "m", stop=stop))

    def told(count: int) -> bool:
        deadline = time.monotonic() + 30
        while model.embedded < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return model.embedded == count

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        assert told(1)
        (tmp_path / "b.txt").write_text("a dog", encoding="utf-8")
        assert told(2)
        (tmp_path / "notes.pdf").write_bytes(b"%PDF")  # no medium: nothing is done
        (tmp_path / ".hidden.txt").write_text("hidden", encoding="utf-8")
        (tmp_path / "a.txt").unlink()
        time.sleep(3)
    finally:
        stop.set()
        thread.join(timeout=30)
    assert not thread.is_alive()
    assert [report.embedded for report in reports] == [1, 1, 0]
    assert [report.removed for report in reports] == [0, 0, 1]


def test_a_folder_that_is_none_is_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    from nextomni_edge.errors import InputError

    with pytest.raises(InputError, match="not a folder"):
        next(watch_index(tmp_path / "none", tmp_path / "i", FakeModel(tiny_checkpoint), "m"))
