"""Bytes of weights on the disk against bytes that graphs reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle import accounting as module
from nextomni_edge.bundle.accounting import account
from nextomni_edge.bundle.manifest import FileRecord
from nextomni_edge.errors import UsageError
from tests.bundle.build import WEIGHT, WEIGHT_FILE, small_bundle


def test_a_weight_that_all_components_share_counts_once(tmp_path: Path) -> None:
    found = account(Bundle.open(small_bundle(tmp_path / "b")))
    assert (found.on_disk, found.referenced, found.largest_file) == (
        WEIGHT.nbytes,
    ) * 3 and found.exact


def test_an_exported_bundle_is_exact(tiny_bundle: Path) -> None:
    assert account(Bundle.open(tiny_bundle)).exact


def test_a_tail_that_nothing_reads_is_an_orphan(tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle(tmp_path / "b"))
    files = bundle.manifest.files | {
        WEIGHT_FILE: FileRecord(bundle.manifest.files[WEIGHT_FILE].sha256, WEIGHT.nbytes + 3)
    }
    found = account(Bundle(bundle.path, dataclasses.replace(bundle.manifest, files=files)))
    assert found.on_disk - found.referenced == 3 and not found.exact


def test_one_content_under_two_names_is_a_duplicate(tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle(tmp_path / "b"))
    files = bundle.manifest.files | {"weights/again": bundle.manifest.files[WEIGHT_FILE]}
    found = account(Bundle(bundle.path, dataclasses.replace(bundle.manifest, files=files)))
    assert found.on_disk - found.referenced == WEIGHT.nbytes


def test_regions_that_overlap_count_once() -> None:
    assert (
        module._covered({("a", 0, 10), ("a", 5, 12), ("a", 6, 7), ("a", 20, 21), ("b", 0, 3)}) == 16
    )


def test_packages_are_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle(tmp_path / "b"))
    name, record = next(iter(bundle.manifest.components.items()))
    parts = bundle.manifest.components | {name: dataclasses.replace(record, format="coreml")}
    with pytest.raises(UsageError, match="Core ML packages hold their weights"):
        account(Bundle(bundle.path, dataclasses.replace(bundle.manifest, components=parts)))
