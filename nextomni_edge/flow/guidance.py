"""Classifier-free guidance: one set of logits from a conditional and an unconditional branch
(METHOD 3)."""

from __future__ import annotations

import math

from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.arrays import Array


def guided(conditional: Array, unconditional: Array, scale: float) -> Array:
    """(1+s)·conditional − s·unconditional: logits of one shape and dtype, s ≥ 0. UsageError for
    another s, InputError for unequal shapes."""
    if not (0.0 <= scale < math.inf):
        raise UsageError(f"guidance: {scale}, expected a finite number of at least 0")
    if tuple(conditional.shape) != tuple(unconditional.shape):
        raise InputError(
            f"guidance: logits of shapes {tuple(conditional.shape)} and"
            f" {tuple(unconditional.shape)}, expected one"
        )
    return (1.0 + scale) * conditional - scale * unconditional
