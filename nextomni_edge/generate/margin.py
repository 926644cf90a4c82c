"""How near a draw of x_1 was to another outcome: what tells a near tie from a fault when two runtimes are compared."""

from __future__ import annotations

import numpy as np

from nextomni_edge.flow.path import chunks
from nextomni_edge.flow.sampling import truncated_weight
from nextomni_edge.generate.layout import Float
from nextomni_edge.generate.options import GenerationOptions


def decision_margin(logits: Float, uniform: Float, options: GenerationOptions) -> Float:
    """Margins (N,) of the draws that `sample_x_1` makes from logits (N,C) and uniform (N,).

    Temperature 0: the gap between the two largest logits. Otherwise, as a probability, the distance of the uniform to the
    nearer edge of its symbol in the CDF, the kept symbols being taken as they are; infinite where one symbol holds all.
    """
    if options.temperature == 0:
        lower, upper = np.partition(np.pad(logits, ((0, 0), (1, 0)), constant_values=-np.inf), -2, axis=1)[:, -2:].T
        gaps: Float = upper - lower
        return gaps
    return np.concatenate([_edge_distance(logits[rows], uniform[rows], options) for rows in chunks(*logits.shape)])


def _edge_distance(logits: Float, uniform: Float, options: GenerationOptions) -> Float:
    cumulative = np.cumsum(truncated_weight(logits, options.temperature, options.top_k, options.top_p), axis=1)
    edges = cumulative / cumulative[:, -1:]
    inside = (edges > 0.0) & (edges < 1.0)
    margins: Float = np.where(inside, np.abs(edges - uniform[:, None]), np.inf).min(axis=1)
    return margins
