"""The weight stream: every source dtype, both transforms, in pieces smaller than a tensor, and each
content once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nextomni_edge.bundle import BundleWriter
from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.errors import InputError
from nextomni_edge.export import weights
from nextomni_edge.export.weights import Transform, WeightStream

Open = Callable[[dict[str, torch.Tensor]], WeightStream]


@pytest.fixture
def stream(tiny_checkpoint: Path, tmp_path: Path) -> Open:
    """Opens a stream over the given tensors into an unfinished bundle."""

    def open_stream(tensors: dict[str, torch.Tensor]) -> WeightStream:
        config = json.loads((tiny_checkpoint / "config.json").read_text())
        config["backbone"]["layers"] = 1  # a checkpoint holds at least a tensor for each layer
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "model.safetensors")
        writer = BundleWriter(tmp_path / "bundle")
        writer.path = tmp_path
        return WeightStream(Checkpoint.open(tmp_path), writer)

    return open_stream


@pytest.mark.parametrize("source", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_matrix_arrives_cast_and_transposed_in_pieces(
    source: torch.dtype,
    dtype: weights.Precision,
    transpose: bool,
    stream: Open,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(weights, "BLOCK", 256)  # 32 values: far less than the matrix
    matrix = torch.randn(37, 23, generator=torch.Generator().manual_seed(0)).to(source)
    stored = stream({"w": matrix}).store("w", Transform(dtype, transpose))
    expected = matrix.float().numpy().astype(dtype)
    expected = np.ascontiguousarray(expected.T if transpose else expected)
    data = (tmp_path / stored.file).read_bytes()
    assert data == expected.tobytes()
    assert (stored.shape, stored.nbytes) == (expected.shape, expected.nbytes)
    assert stored.file == f"weights/{hashlib.sha256(data).hexdigest()}"


def test_equal_tensors_are_stored_once(stream: Open, tmp_path: Path) -> None:
    one = torch.arange(6.0).reshape(2, 3)
    opened = stream({"a": one, "b": one.clone(), "c": one.T.contiguous()})
    files = {opened.store(name, Transform(transpose=name == "c")).file for name in "aabc"}
    assert len(files) == len(list((tmp_path / "weights").iterdir())) == 1


def test_rounding_to_float16_is_measured_and_exact_values_are_not_called_rounded(
    stream: Open,
) -> None:
    opened = stream(
        {"exact": torch.tensor([1.0, 0.5]), "inexact": torch.tensor([1.0, 1.0 + 2.0**-12])}
    )
    for name in ("exact", "inexact"):
        opened.store(name, Transform("float16"))
    assert opened.rounded == {"inexact": 2.0**-12}


def test_what_does_not_fit_float16_is_refused(stream: Open) -> None:
    with pytest.raises(
        InputError, match="tensor w: 7e\\+04 does not fit float16; export with --precision float32"
    ):
        stream({"w": torch.tensor([7e4])}).store("w", Transform("float16"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_with_nan_is_refused(value: float, stream: Open) -> None:
    opened = stream({"w": torch.tensor([1.0, value])})
    with pytest.raises(InputError, match="tensor w has values that are not finite"):
        opened.store("w", Transform())
    with pytest.raises(InputError, match="tensor w has values that are not finite"):
        opened.small("w")


def test_integers_are_no_weights(stream: Open) -> None:
    with pytest.raises(InputError, match="tensor w has dtype int64, expected one of float64"):
        stream({"w": torch.tensor([1])}).store("w", Transform())
