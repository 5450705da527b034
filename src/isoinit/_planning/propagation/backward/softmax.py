"""The moments of softmax weights, and what of a gradient passes through them."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from isoinit._reading.graph import Array

LENGTHS = 12  # of the queries under a causal mask, those that stand for all


class Weights(NamedTuple):
    """Moments of the softmax weights a of one query, averaged over queries.

    Attributes:
        even: E Σ a², the sum of squares over the keys.
        passed: E Σ (∂s)², where ∂s = a (g - Σ a g) for gradients g of the weights that are
            independent and of size one: what comes back to the scores.
    """

    even: float
    passed: float


def moments(count: int, spread: float, causal: bool) -> Weights:
    """Return the moments of softmax weights of so many keys, for Gaussian scores.

    Args:
        count: keys of one query; under a causal mask, of the last one.
        spread: variance of a score over the keys of one query.
        causal: whether the query at place i has i keys.
    """
    return _moments(count, float(f"{min(spread, 100.0):.3g}"), causal)


@lru_cache(maxsize=256)
def _moments(count: int, spread: float, causal: bool) -> Weights:
    lengths = np.unique(np.round(np.geomspace(1, count, LENGTHS))) if causal else np.array([count])
    queries = np.arange(1, count + 1) if causal else lengths
    even, passed = (np.interp(queries, lengths, m) for m in _of_lengths(lengths, spread))
    return Weights(float(even.mean()), float(passed.mean()))


def _of_lengths(lengths: Array, spread: float) -> tuple[Array, Array]:
    """Return both moments for each number of keys, by quadrature.

    A weight is w/(w + R) with log-normal w = exp(s); the sum R of the others is taken as log-normal
    with its own mean and variance (Fenton 1960). Of a = w/(w + R), with A_k = E Σ a^k:
    E Σ a² ((1 - a)² + Σ others' a²) ≈ A_2 - 2 A_3 + A_2².
    """
    others = np.maximum(lengths - 1, 1e-9)[:, None, None]
    width = np.log1p(np.expm1(spread) / others)  # the variance of log R
    level = np.log(others) + spread / 2 - width / 2
    own, rest = _levels(32)[:, None], _levels(16)[None, :]
    weight = 1 / (1 + np.exp(np.minimum(level + np.sqrt(width) * rest - spread**0.5 * own, 700)))
    weight /= weight.mean((1, 2), keepdims=True) * lengths[:, None, None]
    even = np.minimum(lengths * np.square(weight).mean((1, 2)), 1.0)
    cubes = lengths * (weight**3).mean((1, 2))
    return even, np.clip(even - 2 * cubes + even**2, 0.0, even)


def _levels(count: int) -> Array:
    """Return the middles of equally likely parts of a standard normal, of unit mean square."""
    levels = np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
    return np.asarray(levels / np.sqrt(np.square(levels).mean()))
