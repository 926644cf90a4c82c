"""E4M3, the 8-bit float of FP8 products (arXiv 2209.05433): 4 bits of exponent, 3 of mantissa, no
infinity; as bits, in numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

LARGEST: Final = np.float32(448)
_LEAST_EXPONENT: Final = -6  # of a normal number; smaller ones are multiples of 2^−9
_MANTISSA: Final = 3


def _values() -> Float:
    bits = np.arange(256)
    exponent, mantissa = (bits >> _MANTISSA) & 15, (bits & 7) / 8
    size = np.where(exponent > 0, 1 + mantissa, mantissa) * 2.0 ** (
        np.maximum(exponent, 1) - 1 + _LEAST_EXPONENT
    )
    size[bits & 127 == 127] = np.nan
    found: Float = np.where(bits < 128, size, -size).astype(np.float32)
    return found


VALUES: Final = _values()


def decode(bits: NDArray[np.uint8]) -> Float:
    """The numbers of the bits."""
    found: Float = VALUES[bits]
    return found


def encode(x: Float) -> NDArray[np.uint8]:
    """The bits of the nearest number; of two equally near ones, the even one. Beyond the largest
    number, it is the largest, as in ONNX's QuantizeLinear."""
    size = np.minimum(np.abs(x), LARGEST)
    exponent = np.frexp(np.maximum(size, np.float32(2.0**_LEAST_EXPONENT)))[1] - 1
    # 8 to 16 of a normal number; 16 carries over
    steps = np.rint(np.ldexp(size, _MANTISSA - exponent)).astype(np.int32)
    code = ((exponent - _LEAST_EXPONENT) << _MANTISSA) + steps
    found: NDArray[np.uint8] = (code + 128 * np.signbit(x)).astype(np.uint8)
    return found


def rounded(x: Float) -> Float:
    """The nearest numbers as float32."""
    return decode(encode(x))
