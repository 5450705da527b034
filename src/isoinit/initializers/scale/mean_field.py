"""What weights read of an activation in a wide layer: mean-field theory at one size of the signal.

The pre-activations of a wide random layer are Gaussian, so everything follows from expectations of the
activation φ at their second moment q (Poole et al. 2016; Schoenholz et al. 2017). Weights read one of
three functions ψ of it:

- plain weights read φ itself;
- weights whose rows sum to zero (`Centred`) read φ - E[φ];
- mirrored weights (`LooksLinear`) read its odd part φ(z) - φ(-z).

Expectations are sums over one fixed grid: a function of any kind costs the same, and the error (about
1e-4 at a kink, 1e-3 at a jump) is below what a finite width does.

**Jumps.** Backpropagation takes the slope on one side of a jump and does not see the jump, so the
slope here is the one beside it: a difference across it would measure its own step. Examples do see it:
two inputs a distance d apart differ by about √d behind it, so that their difference never dies out;
that follows from the values, which hold the jump (`spectrum`). A step function has no slope beside its
jumps, and no weights keep its gradient alive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np

from isoinit.initializers.scale.gains import Array, Function

Way = Literal["plain", "centred", "mirrored"]

_EDGE = 10.0  # the normal density beyond 10 is below 1e-22
_PANELS = 80  # of width 1/4, so that kinks at multiples of it are the end of one
_NODES = 20
_TERMS = 64  # of a Hermite series; what is beyond counts as of the first power left out
_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Response:
    """What weights read of an activation whose input is N(0, q), as values on the grid.

    Attributes:
        size: q, the second moment of the pre-activations.
        values: ψ(√q z).
        slopes: ψ'(√q z), beside its jumps.
        hidden: how much larger the gradient at single units is, in second moment, than what the
            weights before them pass on: above 1 for mirrored units whose gradients all but cancel.
    """

    size: float
    values: Array
    slopes: Array
    hidden: float = 1.0

    @cached_property
    def second(self) -> float:
        """E[ψ²]."""
        return _mean(np.square(self.values))

    @cached_property
    def slope(self) -> float:
        """E[ψ'²]."""
        return _mean(np.square(self.slopes))

    @cached_property
    def growth(self) -> float:
        """dE[ψ²]/dq = E[ψ² (z² - 1)]/(2q), by parts."""
        return _mean(np.square(self.values) * (_grid()[0] ** 2 - 1)) / (2 * self.size)

    @cached_property
    def slope_growth(self) -> float:
        """The derivative of log E[ψ'²] by log q."""
        moved = _mean(np.square(self.slopes) * (_grid()[0] ** 2 - 1)) / 2
        return moved / self.slope

    @cached_property
    def noise(self) -> float:
        """Return n times the relative variance of a mean of ψ² over n units whose mean z² is known.

        Var[ψ²]/E[ψ²]², less what the mean of z² explains: 2 (q·growth/E[ψ²])². A line has none.
        """
        whole = _mean(self.values**4) / self.second**2 - 1
        return max(whole - 2 * (self.size * self.growth / self.second) ** 2, 0.0)

    @cached_property
    def slope_noise(self) -> float:
        """Return Var[ψ'²]/E[ψ'²]²: the relative variance of the factors of the gradient."""
        return max(_mean(self.slopes**4) / self.slope**2 - 1, 0.0)

    @cached_property
    def spectrum(self) -> Array:
        """The squares of ψ's Hermite coefficients: E[ψ(u)ψ(v)] = Σ aₙ² ρⁿ at a correlation ρ.

        Source: Daniely et al. 2016, section 4 (the dual activation).
        """
        squares = np.square(_hermite() @ self.values)
        return np.append(squares, max(self.second - float(squares.sum()), 0.0))


def responses(function: Function, size: float) -> dict[Way, Response]:
    """Return what plain, centred and mirrored weights read of a function at a second moment.

    Args:
        function: from an array of any length to an array of that length, elementwise.
        size: q, the second moment of its input.

    Example:
        >>> for way, read in responses(lambda z: np.maximum(z, 0), 1.0).items():
        ...     print(way, f"{read.second:.4f}")
        plain 0.5000
        centred 0.3408
        mirrored 1.0000
    """
    z = math.sqrt(size) * _grid()[0]
    with np.errstate(all="ignore"):  # infinite where it is: no moment is finite then
        here, above, below = (
            np.asarray(function(z + step), np.float64) for step in (0.0, _STEP, -_STEP)
        )
        right, left = (above - here) / _STEP, (here - below) / _STEP
        # A jump lies on one side of a point: the smaller slope is the other side's.
        slopes = np.where(np.abs(right) < np.abs(left), right, left)
        odd = here - here[::-1]
        # An even function's odd part is what rounding leaves of it.
        odd[np.abs(odd) < 1e-9 * np.abs(here)] = 0.0
        paired = np.where(odd == 0, 0.0, slopes + slopes[::-1])
        passed = _mean(np.square(paired))
        hidden = max(2 * _mean(np.square(slopes)) / passed, 1.0) if passed > 0 else math.inf
        return {
            "plain": Response(size, here, slopes),
            "centred": Response(size, here - _mean(here), slopes),
            "mirrored": Response(size, odd, paired, hidden),
        }


@cache
def _grid() -> tuple[Array, Array]:
    """Return the nodes, symmetric about 0, and their weights under the standard normal density."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    width = 2 * _EDGE / _PANELS
    left = np.linspace(-_EDGE, _EDGE, _PANELS, endpoint=False)
    z = (left[:, None] + width * (nodes + 1) / 2).ravel()
    z = (z - z[::-1]) / 2
    density = np.exp(-np.square(z) / 2) / math.sqrt(2 * math.pi)
    return z, np.tile(weights * width / 2, _PANELS) * density


@cache
def _hermite() -> Array:
    """Return the first normalized Hermite polynomials on the grid, times the weights."""
    z, weights = _grid()
    rows = [np.ones_like(z), z]
    for n in range(2, _TERMS):
        rows.append((z * rows[-1] - math.sqrt(n - 1) * rows[-2]) / math.sqrt(n))
    return np.stack(rows) * weights


def _mean(values: Array) -> float:
    # Not a product of BLAS, whose sums depend on the processor.
    return float(np.cumsum(values * _grid()[1])[-1])
