"""The path and its chain straight from METHOD 3's formulas: float64, O(V²), one x_1 at a time,
written apart from the package."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def distances(table: NDArray[np.floating], x_1: int) -> Float:
    """d(x, x_1) for every x, (V,)."""
    rows = table.astype(np.float64)
    norms = np.array([math.sqrt(float(np.dot(row, row))) for row in rows])
    rows = np.array(
        [row / norm if norm > 0 else row for row, norm in zip(rows, norms, strict=True)]
    )
    return np.array([float(np.sum((row - rows[x_1]) ** 2)) ** 2 for row in rows])


def beta(t: float, c: float = 3.0, a: float = 0.9) -> float:
    return c * (t / (1 - t)) ** a


def d_beta(t: float, c: float = 3.0, a: float = 0.9) -> float:
    return 0.0 if t == 0 else c * a * (t / (1 - t)) ** (a - 1) / (1 - t) ** 2


def probability(d: Float, beta_t: float) -> Float:
    """p_t(· | x_1), (V,)."""
    weight = np.exp(-beta_t * (d - d.min()))
    return weight / weight.sum()


def velocity(d: Float, beta_t: float, rate: float) -> Float:
    """u[x, z] = u_t(x, z | x_1) for x ≠ z, 0 on the diagonal: (V, V)."""
    p = probability(d, beta_t)
    u = np.zeros((len(d), len(d)))
    for x in range(len(d)):
        for z in range(len(d)):
            if x != z:
                u[x, z] = p[x] * rate * max(0.0, d[z] - d[x])
    return u


def transition(d: Float, t: float, h: float, rule: str) -> Float:
    """Column z holds the law of x_{t+h} given x_t = z, (V, V), for the step rule "euler" or
    "corrected"."""
    beta_t, rate = {
        "euler": (beta(t), h * d_beta(t)),
        "corrected": (beta(t + h / 2), beta(t + h) - beta(t)),
    }[rule]
    u = velocity(d, beta_t, rate)
    total = u.sum(axis=0)
    stays = np.exp(-total)
    towards = np.divide(u, total, out=np.zeros_like(u), where=total > 0)
    return towards * (1 - stays) + np.diag(stays)


def marginals(d: Float, n: int, rule: str) -> list[Float]:
    """The exact laws of the chain of n steps from the uniform start at t = 0, 1/n, …, (n−1)/n, each
    (V,)."""
    laws = [np.full(len(d), 1 / len(d))]
    for i in range(n - 1):
        laws.append(transition(d, i / n, 1 / n, rule) @ laws[-1])
    return laws


def total_variation(p: Float, q: Float) -> float:
    return 0.5 * float(np.abs(p - q).sum())


def sampling_bound(symbols: int, draws: int, delta: float = 1e-9) -> float:
    """
    Total variation that an empirical law of `draws` samples over `symbols` exceeds with probability
    at most delta.

    Its mean is at most ½·sqrt(V/N) (Cauchy-Schwarz), and one sample moves it by at most 1/N
    (McDiarmid).
    """
    return 0.5 * math.sqrt(symbols / draws) + math.sqrt(math.log(1 / delta) / (2 * draws))
