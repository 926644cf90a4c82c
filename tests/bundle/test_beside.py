"""A bundle as hubs, systems and file systems leave it: whole is what its manifest lists."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.errors import InputError
from tests.bundle.build import small_bundle

pytestmark = pytest.mark.usefixtures("within_bounds")


@pytest.mark.parametrize(
    "name",
    ["README.md", "config.json", ".gitattributes", ".DS_Store", ".nfs0000001", "weights/.DS_Store"],
)
def test_what_others_leave_beside_is_not_looked_at(tmp_path: Path, name: str) -> None:
    path = small_bundle(tmp_path / "b")
    (path / name).write_bytes(b"\x00")
    Bundle.open(path)


@pytest.mark.parametrize("name", ["readme.txt", "run.sh", ".x", "weights/more"])
def test_another_file_is_still_one_too_many(tmp_path: Path, name: str) -> None:
    path = small_bundle(tmp_path / "b")
    (path / name).write_bytes(b"\x00")
    with pytest.raises(InputError, match="is not listed in the manifest"):
        Bundle.open(path)


def hub_cache(tmp_path: Path) -> Path:
    """A bundle as a hub's cache holds it: every file a link into blobs."""
    whole, cache = small_bundle(tmp_path / "b"), tmp_path / "models--a--b"
    snapshot, blobs = cache / "snapshots" / "0f3a", cache / "blobs"
    blobs.mkdir(parents=True)
    for index, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(index))
        link.symlink_to(os.path.relpath(blobs / str(index), link.parent))
    return snapshot


def test_a_bundle_in_a_hub_s_cache_opens(tmp_path: Path) -> None:
    Bundle.open(hub_cache(tmp_path))


@pytest.mark.parametrize("target", ["/etc/hostname", "../../other", "/dev/zero"])
def test_a_link_to_elsewhere_is_refused_there_too(tmp_path: Path, target: str) -> None:
    snapshot = hub_cache(tmp_path)
    (snapshot.parent.parent / "other").write_bytes(b"x")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(target)
    with pytest.raises(InputError, match=r"tokenizer\.json: a link, expected only files"):
        Bundle.open(snapshot)


@pytest.mark.parametrize("reason", [errno.ENOTSUP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_or_durable_folders_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    import fcntl

    fsync = os.fsync

    def no_folder(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(reason, os.strerror(reason))
        fsync(descriptor)

    def no_lock(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    monkeypatch.setattr(os, "fsync", no_folder)
    Bundle.open(small_bundle(tmp_path / "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_of_graphs_says_to_other_libraries_what_its_backbone_is(tiny_bundle: Path) -> None:
    told = json.loads((tiny_bundle / "config.json").read_text())
    manifest = Bundle.open(tiny_bundle).manifest
    assert told["model_type"] == "qwen2" and "config.json" not in manifest.files
    assert told["hidden_size"] == manifest.config.backbone.hidden_size
