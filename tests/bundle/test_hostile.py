"""Bundles made to harm or to mislead: each is refused, with exactly its error."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from tests.bounded import bounded
from tests.bundle import (
    hostile_configs,
    hostile_files,
    hostile_graphs,
    hostile_manifest,
    hostile_operators,
    hostile_siblings,
    hostile_tensors,
    hostile_tokenizers,
)
from tests.bundle.build import small_bundle
from tests.bundle.damage import Damage

CASES = [
    *hostile_manifest.CASES,
    *hostile_files.CASES,
    *hostile_configs.CASES,
    *hostile_graphs.CASES,
    *hostile_operators.CASES,
    *hostile_tensors.CASES,
    *hostile_tokenizers.CASES,
    *hostile_siblings.CASES,
]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("valid") / "b")


def spelled(error: str, path: Path) -> str:
    """An error with its placeholders filled: {b} the path, {graph} and {tables} a file's size, plus
    or minus a number."""
    sizes = {"graph": "backbone.onnx", "tables": "metric_tables.safetensors"}

    def size(match: re.Match[str]) -> str:
        return str((path / sizes[match[1]]).stat().st_size + int(match[2] or 0))

    return re.sub(r"\{(graph|tables)([+-]\d+)?\}", size, error).replace("{b}", str(path))


@pytest.mark.parametrize(
    ("damage", "error"), [pytest.param(damage, error, id=name) for name, damage, error in CASES]
)
def test_a_hostile_bundle_is_refused(
    valid: Path, tmp_path: Path, damage: Damage, error: str
) -> None:
    path = tmp_path / "b"
    shutil.copytree(valid, path)
    damage(path)
    with bounded(), pytest.raises(InputError) as raised:
        Bundle.open(path)
    assert str(raised.value) == spelled(error, path)


def test_the_bundle_that_is_damaged_is_a_valid_one(valid: Path) -> None:
    Bundle.open(valid)


def test_the_corpus_has_no_two_of_a_kind() -> None:
    assert len({name for name, _, _ in CASES}) == len(CASES) >= 330
