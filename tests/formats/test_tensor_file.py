"""The safetensors reader and writer against the safetensors library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from nextomni_edge.errors import InputError
from nextomni_edge.formats.tensor_file import TensorFile, write_tensors

pytestmark = pytest.mark.usefixtures("within_bounds")

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def tensors() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)
    found = {kind: (chance.standard_normal((3, 5)) * 50).astype(kind) for kind in DTYPES}
    return found | {
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "β": np.arange(3.0),
    }


def test_what_we_write_the_library_reads(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        write_tensors(
            file,
            tensors()
            | {"big": np.arange(4, dtype=">f4"), "strided": np.arange(12).reshape(3, 4).T},
        )
    found = load_file(tmp_path / "x")
    for name, array in tensors().items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found["big"], [0, 1, 2, 3])
    np.testing.assert_array_equal(found["strided"], np.arange(12).reshape(3, 4).T)


def test_what_the_library_writes_we_read(tmp_path: Path) -> None:
    save_file(
        {name: torch.from_numpy(array.copy()) for name, array in tensors().items()},
        tmp_path / "x",
        {"made": "here"},
    )
    file = TensorFile(tmp_path / "x")
    assert file.names() == sorted(tensors())
    for name, array in tensors().items():
        np.testing.assert_array_equal(file.tensor(name), array)
        assert file.tensor(name).shape == array.shape
        assert file.tensor(name).dtype == (np.float32 if array.dtype == np.float16 else array.dtype)


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -3.1415, 1e38, 1e-40, float("inf"), float("nan")]).to(
        torch.bfloat16
    )
    save_file({"x": values}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    assert file.location("x").dtype == "bfloat16" and file.location("x").nbytes == 16
    np.testing.assert_array_equal(
        file.tensor("x").view(np.uint32), values.float().numpy().view(np.uint32)
    )


def test_a_location_says_where_the_bytes_stand(tmp_path: Path) -> None:
    save_file({"a": torch.arange(4), "b": torch.arange(6, dtype=torch.int32)}, tmp_path / "x")
    location = TensorFile(tmp_path / "x").location("b")
    content = location.file.read_bytes()[location.offset : location.offset + location.nbytes]
    np.testing.assert_array_equal(np.frombuffer(content, "<i4"), range(6))
    assert location.shape == (6,) and location.dtype == "int32"


def test_a_missing_tensor_and_a_missing_file_are_named(tmp_path: Path) -> None:
    save_file({"a": torch.arange(4)}, tmp_path / "x")
    with pytest.raises(InputError, match=r"/x: tensor b is missing$"):
        TensorFile(tmp_path / "x").tensor("b")
    with pytest.raises(InputError, match=r"/y: cannot be read \(No such file or directory\)$"):
        TensorFile(tmp_path / "y")
