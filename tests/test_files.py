"""Files and directories appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nextomni_edge.errors import UsageError
from nextomni_edge.files import atomic_directory, atomic_write, resumable_directory


def test_a_file_takes_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with atomic_write(path, "w") as file:
        file.write("β")
        assert path.read_text() == "old"
    assert path.read_bytes() == "β".encode() and [*tmp_path.iterdir()] == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write(b"new")
        raise KeyError("stop")
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


def test_a_new_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "atomic") as file:
        file.write(b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_writer_left_is_removed_but_not_a_living_writers_file(tmp_path: Path) -> None:
    dead, newborn, other = (
        tmp_path / name for name in (".x.0123abcd.part", ".x.00000000.part", ".y.0123abcd.part")
    )
    for path in (dead, newborn, other):
        path.write_bytes(b"half")
    for path in (dead, other):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    with atomic_write(tmp_path / "x") as living:
        os.utime(living.name, (1_700_000_000, 1_700_000_000))
        with atomic_write(tmp_path / "x") as file:
            file.write(b"new")
        assert Path(living.name).exists()
    assert not dead.exists() and newborn.exists() and other.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x"
    message = f"{path}: the folder {tmp_path / 'no'} does not exist; create it or choose another"
    with pytest.raises(UsageError) as raised, atomic_write(path):
        pass
    assert str(raised.value) == message
    with pytest.raises(UsageError) as raised, atomic_directory(path):
        pass
    assert str(raised.value) == message


def test_an_error_of_the_block_that_is_no_full_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "d") as part:
        (part / "missing").read_bytes()
    assert [*tmp_path.iterdir()] == []


def test_a_directory_replaces_the_old_one_whole(tmp_path: Path) -> None:
    out = tmp_path / "d"
    for name in ("one", "two"):
        with atomic_directory(out, overwrite=True) as part:
            (part / name).write_bytes(b"")
            assert part.parent == out.parent
    assert [file.name for file in out.iterdir()] == ["two"] and [*tmp_path.iterdir()] == [out]


def test_what_a_killed_writer_left_is_no_part_of_the_next_directory(tmp_path: Path) -> None:
    left = tmp_path / ".d.part"
    (left / "weights").mkdir(parents=True)
    (left / "weights" / "w").write_bytes(b"x")
    (left / "link").symlink_to(tmp_path)
    with atomic_directory(tmp_path / "d") as part:
        (part / "new").write_bytes(b"")
    assert [file.name for file in (tmp_path / "d").iterdir()] == ["new"] and tmp_path.is_dir()


def test_a_link_in_the_place_of_the_temporary_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photo").write_bytes(b"x")
    (tmp_path / ".d.part").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(UsageError, match=r"/\.d\.part is in the way; remove it$"),
        atomic_directory(tmp_path / "d"),
    ):
        pass
    assert (tmp_path / "elsewhere" / "photo").exists()


def test_a_resumable_directory_keeps_what_an_interrupted_run_made(tmp_path: Path) -> None:
    out = tmp_path / "set.v1"
    with pytest.raises(KeyError), resumable_directory(out) as part:
        (part / "one").write_bytes(b"1")
        raise KeyError("stop")
    assert not out.exists()
    with resumable_directory(out) as part:
        assert [file.name for file in part.iterdir()] == ["one"]
        with (
            pytest.raises(UsageError, match=r"set\.v1 is being written by another process"),
            resumable_directory(out),
        ):
            pass
        (part / "two").write_bytes(b"2")
    assert sorted(file.name for file in out.iterdir()) == ["one", "two"] and [
        *tmp_path.iterdir()
    ] == [out]
    with pytest.raises(UsageError, match="exists; choose another name"), resumable_directory(out):
        pass
