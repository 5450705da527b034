"""What is left of signal, gradient and the difference between examples after many plain layers.

Mean-field theory says what becomes of all three in layers of infinite width. A layer of n units misses
the expected second moment by some 1/√n, of which each following layer keeps the share `stability`; and
the gradient is multiplied by χ at the size that the signal really has. Both add up to a variance of
the logarithms that grows with depth/width (Hanin & Rolnick 2018, for ReLU networks).

With w = V_w·E[ψ²]/q the share of the weights in a layer's output, one layer of n units adds to log q a
variance of

    (w²·noise + 4 w (1 - w) + 2 (1 - w)²)/n

for its units, its biases beside them and its biases alone. It adds 3·Var[ψ'²]/E[ψ'²]²/n to the
gradient's logarithm, 3 being E[g⁴]/E[g²]² of a Gaussian gradient. Orthogonal weights add nothing.

"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoinit.initializers.scale.criticality import Point
from isoinit.initializers.scale.gains import Function
from isoinit.initializers.scale.mean_field import Response, responses

# The factor by which the root mean square of signal or gradient may change over all layers.
TOLERATED = 20.0
# The share of the size in which examples must still differ.
SPREAD = 0.01
# What a layer may multiply a small relative change of size by: over 50 layers it makes 2.7 of 1.
STABLE = 1.02
# How much larger or smaller than others some examples are, in second moment.
UNLIKE = 4.0


@dataclass(frozen=True)
class Survival:
    """What is left after a number of layers.

    Attributes:
        signal: four standard deviations of the logarithm of the signal's root mean square: what the
            largest example of a batch shows.
        trend: the logarithm of what the gradient's root mean square is multiplied by.
        noise: two standard deviations of that, over draws of the weights.
        spread: the root mean square difference between examples that started unlike, relative to
            that of unlike ones: 1 where they stay unlike, 0 where all become the same.
        stable: whether sizes come back to the fixed point, or go no further from it at least.
        ends: the logarithm of what the last layer changes by, which makes one of q; and of how much
            larger the gradient at mirrored units is than what they pass on.
    """

    signal: float
    trend: float
    noise: float
    spread: float
    stable: bool
    ends: float

    @property
    def lives(self) -> bool:
        """Whether signal, gradient and the difference between examples are left."""
        most = math.log(TOLERATED) - self.ends
        near = self.signal <= most and abs(self.trend) + self.noise <= most
        return self.stable and near and self.spread >= SPREAD


def survival(read: Response, point: Point, layers: int, noise: float) -> Survival:
    """Return what is left after `layers` at a fixed point.

    Args:
        read: what the weights read of the activation at the point's size.
        point: the fixed point.
        layers: how many layers there are.
        noise: the mean of 1/width over them; 0 for infinite width.
    """
    # Units in pairs are half as many.
    per_unit = noise * (2 if point.way == "mirrored" else 1)
    share = 1 - point.bias / point.second
    added = share**2 * read.noise + 4 * share * (1 - share) + 2 * (1 - share) ** 2
    # What a deviation of log q becomes after 0, 1, 2, … further layers, and the sum of those.
    kept = np.exp(np.minimum(np.arange(layers) * math.log(abs(point.stability) or 1e-9), 200.0))
    signal = per_unit * added * float(np.square(kept).sum())
    moved = read.slope_growth**2 * added * float(np.square(np.cumsum(kept)).sum())
    gradient = per_unit * (moved + 3 * layers * read.slope_noise)
    return Survival(
        signal=2 * math.sqrt(signal),
        trend=layers * math.log(point.slope) / 2,
        noise=math.sqrt(gradient),
        spread=spread(read, point, layers),
        stable=abs(point.stability) <= STABLE,
        ends=(abs(math.log(point.second)) + math.log(read.hidden)) / 2,
    )


def spread(read: Response, point: Point, layers: int) -> float:
    """Return sqrt(1 - ρ) after some layers, ρ the correlation of examples that started unlike.

    ρ' = (V_w·Σ aₙ² ρⁿ + V_b)/q; the first layer's biases are all that examples share initially.
    """
    shared = point.bias / point.second
    correlation = shared
    powers = np.arange(len(read.spectrum))
    for _ in range(layers - 1):
        made = point.weight * float(read.spectrum @ correlation**powers) / point.second + shared
        before, correlation = correlation, min(made, 1.0)
        if abs(correlation - before) < 1e-9 * (1 - correlation):
            break
    return math.sqrt(1 - correlation)


def stays(function: Function, point: Point, left: Survival) -> bool:
    """Return whether sizes far from a fixed point move back towards it.

    Args:
        function: the activation.
        point: the fixed point.
        left: what is left at it, which says how far sizes get by chance; examples are unlike in
            size at all events.
    """
    reach = max(UNLIKE, math.exp(min(2 * left.signal, 100.0)))
    for size in (point.second * reach, point.second / reach):
        read = responses(function, size)[point.way]
        moved = (point.weight * read.second + point.bias) / size
        if not (moved if size > point.second else 1 / max(moved, 1e-300)) <= STABLE:
            return False
    return True
