"""The interpreter's operators against PyTorch's, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nextomni_edge.errors import InputError
from nextomni_edge.formats.mil import Blob, Constant, MilProgram, Operation
from nextomni_edge.runtimes.coreml.interpreter import Interpreter
from nextomni_edge.runtimes.coreml.operators import OPERATORS

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def close(found: Any, expected: torch.Tensor, atol: float = 2e-6) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-6, atol=atol)


def test_gelu_is_exact_over_the_whole_range() -> None:
    x = np.linspace(-12.0, 12.0, 10001)
    close(OPERATORS["gelu"](x=x), F.gelu(torch.tensor(x)), atol=1e-11)


def test_silu_of_large_negative_numbers_is_zero() -> None:
    x = np.array([-200.0, -1.0, 0.0, 5.0], np.float32)
    close(OPERATORS["silu"](x=x), F.silu(torch.tensor(x)))


@pytest.mark.parametrize(("stride", "before", "after"), [(1, 0, 0), (2, 1, 1), (3, 2, 0)])
def test_convolution(stride: int, before: int, after: int) -> None:
    x, weight, bias = draw(2, 3, 17), draw(4, 3, 5), draw(4)
    found = OPERATORS["conv"](
        x=x, weight=weight, bias=bias, strides=np.array([stride]), pad_type="custom",
        pad=np.array([before, after]), dilations=np.array([1]), groups=np.array(1),
    )  # fmt: skip
    padded = F.pad(torch.tensor(x), (before, after))
    close(
        found, F.conv1d(padded, torch.tensor(weight), torch.tensor(bias), stride=stride), atol=1e-5
    )


def test_convolution_of_pictures() -> None:
    x, weight = draw(2, 3, 8, 6), draw(4, 3, 3, 2)
    found = OPERATORS["conv"](
        x=x, weight=weight, strides=np.array([1, 2]), pad_type="custom", pad=np.array([1, 1, 0, 0]),
        dilations=np.array([1, 1]), groups=np.array(1),
    )  # fmt: skip
    close(
        found,
        F.conv2d(torch.tensor(x), torch.tensor(weight), stride=(1, 2), padding=(1, 0)),
        atol=1e-5,
    )


def test_transposed_convolution() -> None:
    x, weight = draw(2, 3, 7), draw(3, 2, 5)
    options = {
        "strides": np.array([3]),
        "pad_type": "custom",
        "dilations": np.array([1]),
        "groups": np.array(1),
    }
    found = OPERATORS["conv_transpose"](x=x, weight=weight, pad=np.array([1, 1]), **options)
    close(
        found,
        F.conv_transpose1d(torch.tensor(x), torch.tensor(weight), stride=3, padding=1),
        atol=1e-5,
    )


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked: bool) -> None:
    query, key, value = draw(2, 4, 3, 8), draw(2, 4, 5, 8), draw(2, 4, 5, 8)
    mask = np.array([[[[True, False, True, True, False]]]]) if masked else None
    given = {"query": query, "key": key, "value": value} | ({"attn_mask": mask} if masked else {})
    found = OPERATORS["scaled_dot_product_attention"](**given)
    mask_of = None if mask is None else torch.tensor(mask)
    close(
        found,
        F.scaled_dot_product_attention(
            torch.tensor(query), torch.tensor(key), torch.tensor(value), mask_of
        ),
    )


def test_layer_norm_and_pixel_shuffle() -> None:
    x, gamma, beta = draw(2, 3, 8), draw(8), draw(8)
    found = OPERATORS["layer_norm"](
        x=x, axes=np.array([-1]), gamma=gamma, beta=beta, epsilon=np.float32(1e-5)
    )
    close(found, F.layer_norm(torch.tensor(x), (8,), torch.tensor(gamma), torch.tensor(beta)))
    picture = draw(2, 12, 3, 5)
    close(
        OPERATORS["pixel_shuffle"](x=picture, upscale_factor=np.array(2)),
        F.pixel_shuffle(torch.tensor(picture), 2),
    )


def test_slices() -> None:
    x = draw(4, 5, 6)
    at = {"x": x, "begin": np.array([1, 0, 2]), "end": np.array([2, 0, -1])}
    found = OPERATORS["slice_by_index"](
        **at, end_mask=np.array([False, True, False]), squeeze_mask=np.array([True, False, False])
    )  # fmt: skip
    np.testing.assert_array_equal(found, x[1, :, 2:-1])


def doubled(
    dtype: str = "float32", kind: str = "mul", constant: Constant | None = None
) -> MilProgram:
    """y = x · 2."""
    two = constant or Constant(dtype, (), np.array(2.0, dtype))
    const = Operation("const", {}, (("two", dtype),), {"val": two})
    return MilProgram(
        (), (), (const, Operation(kind, {"x": ("x",), "y": ("two",)}, (("y", dtype),), {})), ("y",)
    )


def no_blob(_: Blob) -> np.ndarray:
    raise AssertionError("the program has no weights")


def test_float16_rounds_and_overflows_as_float16_does() -> None:
    x = np.array([1.0 / 3.0, 40000.0], np.float32)
    (found,) = Interpreter(doubled("float16"), no_blob).run({"x": x}).values()
    np.testing.assert_array_equal(found, np.array([np.float16(2.0 / 3.0), np.inf], np.float32))


def test_an_operator_that_export_does_not_write_is_refused_by_name() -> None:
    with pytest.raises(
        InputError, match=r"^operator 'einsum' is not one that export writes: abs, add, "
    ):
        Interpreter(doubled(kind="einsum"), no_blob)


def test_an_option_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(
        InputError, match=r"^option mode is TANH_APPROXIMATION, only EXACT is known here$"
    ):
        OPERATORS["gelu"](x=draw(2), mode="TANH_APPROXIMATION")
    with pytest.raises(
        InputError,
        match=(
            r"^option dtype is 'fp64', only fp32, fp16, int32, int16, uint16, bool are known here$"
        ),
    ):
        OPERATORS["cast"](x=draw(2), dtype="fp64")
    with pytest.raises(InputError, match=r"^option groups is 2, only 1 is known here$"):
        OPERATORS["conv"](
            x=draw(1, 2, 4),
            weight=draw(2, 1, 1),
            strides=[1],
            pad_type="valid",
            pad=[0, 0],
            dilations=[1],
            groups=2,
        )


def test_a_constant_of_another_size_than_declared_is_refused() -> None:
    constant = Constant("float32", (3,), Blob("@model_path/weights/weight.bin", 64))
    with pytest.raises(InputError, match=r"^a constant of 2 float32, declared as float32 \(3,\)$"):
        Interpreter(doubled(constant=constant), lambda blob: np.zeros(2, np.float32))
