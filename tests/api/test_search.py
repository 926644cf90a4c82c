"""Searching a folder from a program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nextomni_edge as ne
from nextomni_edge.errors import InputError


def test_a_folder_is_indexed_and_searched_by_any_modality(model: ne.Model, clone: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = ne.search.index("photos", model, progress=lambda *file: told.append(file))
    assert (report.embedded, report.kept, report.skipped) == (2, 0, [])
    assert told == [(0, 2, "cat.txt"), (1, 2, "red.png"), (2, 2, "")]
    assert ne.search.index("photos", model).kept == 2
    found = ne.search.find("photos", "a cat", model)
    assert found[0].path == Path("photos/cat.txt") and found[0].cosine == pytest.approx(1, abs=1e-5)
    alike = ne.search.find("photos", ne.Image("photos/red.png"), model)
    assert alike[0].path.name == "red.png"
    assert [hit.kind for hit in ne.search.find("photos", "a cat", model, kind="image")] == ["image"]
    assert len(ne.search.find("photos", "a cat", model, count=1)) == 1


def test_an_index_may_stand_elsewhere(model: ne.Model, clone: Path) -> None:
    ne.search.index(clone / "photos", model, clone / "kept.index")
    assert (clone / "kept.index").is_file()
    hits = ne.search.find(clone / "photos", "a cat", model, file=clone / "kept.index")
    assert np.isfinite([hit.cosine for hit in hits]).all()


def test_a_folder_without_an_index_is_refused(model: ne.Model, clone: Path) -> None:
    with pytest.raises(InputError, match="no index; make it with"):
        ne.search.find(clone / "photos", "a cat", model)
