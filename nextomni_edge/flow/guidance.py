"""Classifier-free guidance: one set of logits from a conditional and an unconditional branch
(METHOD 3)."""

from __future__ import annotations

import math

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.arrays import Array


def guided(
    conditional: Array, unconditional: Array, scale: float, *more: tuple[Array, float]
) -> Array:
    """(1+s)·conditional − s·unconditional, and s_j·(conditional − unconditional_j) for each of
    `more` branches: logits of one shape and dtype, s ≥ 0. UsageError for another s, InputError for
    unequal shapes.

    LLaDA's u + (s+1)(c − u) and Lumina-DiMOO's c + s(c − u_text) + s_image(c − u_image) are this
    sum.
    """
    for other, each in ((unconditional, scale), *more):
        if not (0.0 <= each < math.inf):
            raise UsageError(f"guidance: {each}, expected a finite number of at least 0")
        if tuple(conditional.shape) != tuple(other.shape):
            raise InputError(
                f"guidance: logits of shapes {tuple(conditional.shape)} and"
                f" {tuple(other.shape)}, expected one"
            )
    found = (1.0 + scale) * conditional - scale * unconditional
    for other, each in more:
        found = found + each * (conditional - other)
    return found
