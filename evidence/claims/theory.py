"""Mean-field maps: what wide random layers make of a signal on its way up, and of a gradient back.

All from closed forms and quadrature; nothing here draws a random number or runs a network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]

# Expectations over a standard normal: Gauss–Legendre on either side of zero, since ReLU and SELU have
# a kink there, over which Gauss–Hermite converges slowly.
_NODES, _SHARES = np.polynomial.legendre.leggauss(100)
Z = np.concatenate([6 * _NODES - 6, 6 * _NODES + 6])
P = np.tile(6 * _SHARES, 2) * np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi)

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, eq. 14


def relu(z: np.ndarray) -> np.ndarray:
    """Of each number what is above zero."""
    return np.maximum(z, 0)


def selu(z: np.ndarray) -> np.ndarray:
    """The scaled exponential linear unit."""
    return SCALE * np.where(z > 0, z, ALPHA * np.expm1(np.minimum(z, 0)))


# Each function and its slope.
FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "no activation": (lambda z: z, np.ones_like),
    "ReLU": (relu, lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "SELU": (selu, lambda z: SCALE * np.where(z > 0, 1, ALPHA * np.exp(np.minimum(z, 0)))),
}


def expected(function: Function, q: float, power: int = 2) -> float:
    """E f(√q z)^power, z standard normal."""
    return float(P @ function(np.sqrt(q) * Z) ** power)


def forward(name: str, variance: float, q: float, depth: int) -> list[float]:
    """Mean squares of pre-activations from q at layer 1 on: q ← σ_w² E f(√q z)².

    `variance` is σ_w², that of a weight times the fan-in (Poole et al. 2016, eq. 3, without biases).
    """
    sizes = [q]
    while len(sizes) < depth:
        sizes.append(variance * expected(FUNCTIONS[name][0], sizes[-1]))
    return sizes


def backward(name: str, variance: float, sizes: list[float]) -> list[float]:
    """Mean squares of gradients by pre-activations, as multiples of that at the last layer.

    Each is that of the layer above times σ_w² E f'(√q z)², with q that of its own layer and
    `variance` that of a weight times the fan-out (Schoenholz et al. 2017, section 4).
    """
    gradients = [1.0]
    for q in reversed(sizes[:-1]):
        gradients.append(gradients[-1] * variance * expected(FUNCTIONS[name][1], q))
    return gradients[::-1]


def scatter(name: str, q: float = 1.0) -> float:
    """By what a layer of width n adds to the relative variance of a mean square, times n.

    Given its input, a layer's n pre-activations are independent normal numbers, so their f² average
    with a relative variance of (E f⁴/(E f²)² - 1)/n: 2/n without activation, 5/n under ReLU (as in
    Hanin & Rolnick 2018 and Hanin & Nica 2020).
    """
    f = FUNCTIONS[name][0]
    return expected(f, q, 4) / expected(f, q) ** 2 - 1
