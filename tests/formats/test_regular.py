"""What is no file, where a file is expected: one sentence, at once."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nextomni_edge.bundle.reader import bundle_identity
from nextomni_edge.checkpoints.directory import file_sha256, tensor_files
from nextomni_edge.checkpoints.pickled import embedding_table
from nextomni_edge.errors import InputError
from nextomni_edge.formats.gguf import read_gguf
from nextomni_edge.formats.regular import open_regular, read_regular
from nextomni_edge.formats.strict_json import read_json
from nextomni_edge.formats.tensor_file import TensorFile
from nextomni_edge.formats.tokenizer import read_tokenizer
from nextomni_edge.media.files import read_text
from nextomni_edge.media.image import read_image
from nextomni_edge.media.kinds import check_file
from nextomni_edge.media.video import read_video
from nextomni_edge.search.table import open_table

pytestmark = pytest.mark.usefixtures("within_bounds")

READERS: list[Callable[[Path], object]] = [
    lambda path: read_json(path, 2**20), TensorFile, read_gguf, file_sha256, read_tokenizer,
    lambda path: open_table(path, "m"), lambda path: read_regular(path, 2**20), open_regular,
    embedding_table,
]  # fmt: skip


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a FIFO"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.symlink_to("/dev/tty0"), "a device"),
        (Path.mkdir, "a folder"),
    ],
)
def test_what_is_no_file_is_refused_by_every_reader(
    tmp_path: Path, read: Callable[[Path], object], make: Callable[[Path], object], kind: str
) -> None:
    path = tmp_path / "x"
    make(path)
    if kind == "a device" and not os.access(path, os.R_OK):
        pytest.skip("no such device here")
    with pytest.raises(InputError) as raised:
        read(path)
    assert str(raised.value) == f"{path}: {kind}, expected a regular file"


MEDIA: list[Callable[[Path], object]] = [
    read_text, lambda path: read_image(path, 16), lambda path: read_video(path, 16, 2), check_file,
]  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", MEDIA)
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (os.mkfifo, "a FIFO, expected a regular file"),
        (Path.mkdir, "a folder, expected a regular file"),
        (make_socket, "a socket, expected a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "a device, expected a regular file"),
        (lambda path: path.symlink_to("x"), None),
        (make_sparse, "larger than 34359738368 bytes, the most that is read"),
    ],
)
def test_what_is_no_medium_is_refused_at_once(
    read: Callable[[Path], object],
    make: Callable[[Path], object],
    error: str | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's name is at most 108 bytes
        path = Path(folder) / "x"
        make(path)
        with pytest.raises(InputError) as raised:
            read(path)
        assert error is None or str(raised.value).startswith(f"{path}: {error}")


def test_a_socket_cannot_be_read(tmp_path: Path) -> None:
    make_socket(tmp_path / "s")
    with pytest.raises(InputError, match=r"s: cannot be read \(No such device or address\)"):
        read_json(tmp_path / "s", 10)


def test_a_sparse_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(2**40)
    for read, most in ((lambda p: read_json(p, 2**20), 2**20), (read_tokenizer, 40 * 2**20)):
        with pytest.raises(InputError) as raised:
            read(path)
        assert str(raised.value) == f"{path}: larger than {most} bytes, the most that is read"
    with pytest.raises(InputError, match=r"safetensors header is no object|not valid JSON"):
        TensorFile(path)


def test_folders_that_are_models_by_name_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: a FIFO, expected a regular file"):
        tensor_files(tmp_path)
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(InputError, match=r"manifest\.json: a FIFO, expected a regular file"):
        bundle_identity(tmp_path)
