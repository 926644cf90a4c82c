"""Packages that are not what export wrote are refused, each with its sentence, and no byte of one
is trusted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextomni_edge.bundle import Bundle
from nextomni_edge.bundle.coreml_package import MODEL, WEIGHTS, read_package
from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import read_program
from tests.bundle.damage import manifest, record

pytestmark = pytest.mark.usefixtures("within_bounds")

HEAD = "text_head.mlpackage"


@pytest.fixture
def copy(tiny_coreml_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_coreml_bundle, tmp_path / "bundle"))


def changed(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file of the package, and its entry in the manifest with it."""
    file = path / HEAD / name
    file.write_bytes(change(file.read_bytes()))
    record(path, f"{HEAD}/{name}")


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Bundle.open(path)


def test_a_package_is_three_listed_files(copy: Path) -> None:
    names = {name for name in Bundle.open(copy).manifest.files if name.startswith(f"{HEAD}/")}
    assert names == {f"{HEAD}/Manifest.json", f"{HEAD}/{MODEL}", f"{HEAD}/{WEIGHTS}"}


def test_a_fourth_file_is_refused(copy: Path) -> None:
    (copy / HEAD / "Data" / "more.bin").write_bytes(b"more")
    refused(copy, "is not listed in the manifest")
    record(copy, f"{HEAD}/Data/more.bin")
    refused(copy, "is used by nothing")


def test_a_missing_file_is_refused(copy: Path) -> None:
    (copy / HEAD / MODEL).unlink()
    manifest(lambda data: data["files"].pop(f"{HEAD}/{MODEL}"))(copy)
    refused(copy, "is not listed in the manifest")


def test_another_index_is_refused(copy: Path) -> None:
    changed(
        copy,
        "Manifest.json",
        lambda content: content.replace(b"com.apple.CoreML/weights", b"../../weights"),
    )
    refused(copy, r"its Manifest\.json is not the one that export writes")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"hidden", b"hiddem", "inputs 'hiddem', expected 'hidden'"),
        (
            b"@model_path/weights/weight.bin",
            b"@model_path/weightz/weight.bin",
            "weights in '@model_path/weightz/weight.bin'",
        ),
        (
            b"@model_path/weights/weight.bin",
            b"/etc/passwd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "expected @model_path/weights",
        ),
    ],
)
def test_another_model_is_refused(copy: Path, old: bytes, new: bytes, sentence: str) -> None:
    changed(copy, MODEL, lambda content: content.replace(old, new))
    refused(copy, sentence)


def test_weights_that_are_cut_off_are_refused(copy: Path) -> None:
    changed(copy, WEIGHTS, lambda content: content[: len(content) // 2])
    refused(copy, r"the constant at byte \d+ ends at \d+, the file at \d+")


def test_weights_without_a_constant_where_one_is_named_are_refused(copy: Path) -> None:
    changed(copy, WEIGHTS, lambda content: bytes(len(content)))
    refused(copy, r"no constant at byte \d+")


def test_an_ending_that_is_not_the_format_s_is_refused(copy: Path) -> None:
    manifest(lambda data: data["components"]["text_head"].update(format="onnx"))(copy)
    refused(copy, "only coreml uses the ending .mlpackage")


def test_damage_of_any_kind_is_an_input_error(copy: Path) -> None:
    """A thousand files with a byte changed or the end cut off: read, or refused; never anything
    else."""
    whole, rng = (copy / HEAD / MODEL).read_bytes(), np.random.default_rng(0)
    refusals = 0
    for _ in range(1000):
        content = bytearray(whole)
        place = int(rng.integers(len(content)))
        if rng.random() < 0.3:
            del content[place:]
        else:
            content[place] ^= int(rng.integers(1, 256))
        try:
            read_program(bytes(content))
        except InputError:
            refusals += 1
    assert refusals > 300


def test_a_package_names_its_model_in_every_error(copy: Path) -> None:
    (copy / HEAD / MODEL).write_bytes(b"\x08\x04")
    with pytest.raises(
        InputError, match=r"model\.mlmodel: Core ML specification 4, expected 9 \(iOS 18\)$"
    ):
        read_package(copy / HEAD)


def test_the_index_is_json_that_apple_s_tools_read(copy: Path) -> None:
    index = json.loads((copy / HEAD / "Manifest.json").read_text(encoding="utf-8"))
    assert index["rootModelIdentifier"] in index["itemInfoEntries"]
    assert {entry["path"] for entry in index["itemInfoEntries"].values()} == {
        "com.apple.CoreML/model.mlmodel",
        "com.apple.CoreML/weights",
    }


@pytest.mark.parametrize("name", [b"custom", b"loop_x", b"\x1b[2J;;"])
def test_an_operator_that_export_does_not_write_is_refused(copy: Path, name: bytes) -> None:
    changed(copy, MODEL, lambda content: content.replace(b"linear", name))
    with pytest.raises(InputError) as raised:
        Bundle.open(copy)
    assert str(raised.value) == (
        f"{copy / HEAD}: operator {name.decode()!a} is none that `export` writes"
    )
