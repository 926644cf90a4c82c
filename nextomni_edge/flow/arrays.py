"""What every path computes with: passes over a vocabulary in bounded memory, and draws from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from array_api_compat import array_namespace

from nextomni_edge.errors import InputError

Array: TypeAlias = Any  # a numpy array or a torch tensor: the array API has no static type

# elements of a float64 temporary (8 MiB): bounds the memory of every pass over a vocabulary
CHUNK = 1 << 20
# elements of a float64 temporary that a processor's cache still holds on a second pass (1 MiB)
CACHED = 1 << 17


def chunks(length: int, width: int, elements: int | None = None) -> Iterator[slice]:
    """Slices of `length` rows. Each holds as many rows of `width` elements as fit into `elements`,
    by default CHUNK, and at least one row."""
    size = max(1, (elements or CHUNK) // width)
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def uniform_ids(uniform: Array, vocabulary: int) -> Array:
    """Ids uniform over the symbols: `uniform` in [0, 1) → int64 of its shape, in
    [0, vocabulary)."""
    # A uniform is at most 1 − 2^-53. Its product with a whole number rounds to less than that
    # number in float64, not in float32.
    xp = array_namespace(uniform)
    return xp.astype(xp.astype(uniform, xp.float64) * vocabulary, xp.int64)


def inverse_cdf(weight: Array, uniform: Array) -> Array:
    """The symbol x with CDF(x−1) ≤ uniform·total < CDF(x): weights (N, V) float64, uniform (N,) in
    [0, 1) → (N,) int64."""
    xp = array_namespace(weight)
    cumulative = xp.cumulative_sum(weight, axis=1)
    total = cumulative[:, -1:]
    ids = xp.sum(
        xp.astype(cumulative <= xp.astype(uniform, xp.float64)[:, None] * total, xp.int64), axis=1
    )
    # A cast to float32 may have rounded the uniform up to 1: take the last symbol with mass.
    if bool(xp.any(ids == weight.shape[1])):
        ids = xp.minimum(ids, xp.sum(xp.astype(cumulative < total, xp.int64), axis=1))
    return ids


def check_ids(ids: Array, vocabulary: int, name: str) -> None:
    """InputError unless every id is a symbol. A negative index would wrap around in silence."""
    if not ids.shape[0]:
        return
    lowest, highest = int(ids.min()), int(ids.max())
    if lowest < 0 or highest >= vocabulary:
        raise InputError(f"{name}: ids {lowest} to {highest}, expected 0 to {vocabulary - 1}")


def check_shapes(x_t: Array, **others: Array) -> None:
    """InputError unless each of the others has the shape of x_t."""
    for name, array in others.items():
        if tuple(array.shape) != tuple(x_t.shape):
            raise InputError(
                f"{name}: shape {tuple(array.shape)}, expected x_t's {tuple(x_t.shape)}"
            )
