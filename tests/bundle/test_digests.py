"""Digests checked once for each state of a bundle's files: what is read again, and what is not."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle, digests
from nextomni_edge.errors import InputError
from nextomni_edge.files import user_cache
from tests.bundle.build import small_bundle


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that a check hashes, by name. Every file counts as settled."""
    names: list[str] = []

    def hashed(file: Path) -> str:
        names.append(file.name)
        return digest(file)

    digest = digests.file_sha256
    monkeypatch.setattr(digests, "file_sha256", hashed)
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**12))
    return names


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small_bundle(tmp_path / "b")


def weight_of(bundle: Path) -> Path:
    (weight,) = (bundle / "weights").iterdir()
    return weight


def flip(file: Path) -> None:
    """Change a byte in place, and set the time of modification back as it was."""
    before = file.stat()
    with file.open("r+b") as stream:
        first = stream.read(1)[0]
        stream.seek(0)
        stream.write(bytes([first ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_second_opening_reads_nothing(bundle: Path, read: list[str]) -> None:
    Bundle.open(bundle, "once")
    assert len(read) == len(Bundle.open(bundle, False).manifest.files)
    read.clear()
    Bundle.open(bundle, "once")
    assert read == []


def test_always_reads_every_file_every_time_and_keeps_no_record(
    bundle: Path, read: list[str]
) -> None:
    Bundle.open(bundle)
    first = sorted(read)
    read.clear()
    Bundle.open(bundle, "always")
    assert sorted(read) == first and not user_cache().exists()


def test_a_changed_byte_is_caught_though_its_time_of_modification_is_forged(
    bundle: Path, read: list[str]
) -> None:
    Bundle.open(bundle, "once")
    time.sleep(0.02)  # the next tick of the file system's clock
    flip(weight_of(bundle))
    read.clear()
    with pytest.raises(InputError, match="has sha256"):
        Bundle.open(bundle, "once")
    assert read == [weight_of(bundle).name]


def test_a_file_put_in_place_of_another_is_caught(bundle: Path, read: list[str]) -> None:
    Bundle.open(bundle, "once")
    weight, other = weight_of(bundle), bundle.parent / "other"
    shutil.copy2(weight, other)
    flip(other)
    other.replace(weight)
    with pytest.raises(InputError, match="has sha256"):
        Bundle.open(bundle, "once")


def test_what_was_found_wrong_is_found_wrong_again(bundle: Path, read: list[str]) -> None:
    flip(weight_of(bundle))
    for _ in range(2):
        with pytest.raises(InputError, match="has sha256"):
            Bundle.open(bundle, "once")


def test_a_file_that_changed_a_moment_ago_is_read_again(
    bundle: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_NS", 3600 * 10**9)
    Bundle.open(bundle, "once")
    first = sorted(read)
    read.clear()
    Bundle.open(bundle, "once")
    assert sorted(read) == first


@pytest.mark.parametrize("record", [b"", b"[]", b'{"format": "nextomni-edge-checked"}', b"\xff"])
def test_a_damaged_record_counts_as_none(bundle: Path, read: list[str], record: bytes) -> None:
    Bundle.open(bundle, "once")
    (kept,) = (user_cache() / digests.FOLDER).iterdir()
    kept.write_bytes(record)
    first = sorted(read)
    read.clear()
    Bundle.open(bundle, "once")
    assert sorted(read) == first


def test_a_cache_that_cannot_be_written_costs_only_the_record(
    bundle: Path, read: list[str]
) -> None:
    user_cache().parent.mkdir(parents=True, exist_ok=True)
    user_cache().write_text("in the way")
    for _ in range(2):
        Bundle.open(bundle, "once")
    assert len(read) == 2 * len(Bundle.open(bundle, False).manifest.files)


def test_a_bundle_at_another_place_is_checked_for_itself(bundle: Path, read: list[str]) -> None:
    Bundle.open(bundle, "once")
    copy = bundle.with_name("copy")
    shutil.copytree(bundle, copy)
    read.clear()
    Bundle.open(copy, "once")
    assert len(read) == len(Bundle.open(bundle, False).manifest.files)


def test_the_first_file_in_the_manifests_order_is_the_one_that_is_named(bundle: Path) -> None:
    names = list(Bundle.open(bundle, False).manifest.files)
    for name in names:
        flip(bundle / name)
    with pytest.raises(InputError, match=f"file '{names[0]}' has sha256"):
        Bundle.open(bundle)
