"""The gain of mirrored units under noise: it restores the part of the signal that noise takes.

Between `LooksLinear` layers units come in pairs of opposite pre-activations z and -z, and the next
layer reads φ(z) - φ(-z). Weights with their own noise make the pair opposite only in part, with
a correlation ρ above -1. Then the two cancel in part, and each layer would lose some of the signal:
at `scale` 1 one twentieth of its square, three quarters of its size over 50 layers.
"""

from __future__ import annotations

import math

from isoinit._writing.entry import Entry
from isoinit.initializers import Initializer, LooksLinear, Variational


def restoring_gain(entry: Entry, scale: float) -> float:
    """What mean and std of a weight are multiplied by, so that its output has the planned size.

    Of the activation the odd part is taken for a straight line and the even part for |z|, times
    constants: exactly so for ReLU and leaky ReLU, nearly for GELU and SiLU. With o² and e² the second
    moments of the two, and h(ρ) = E|z₁z₂| for a pair of correlation ρ,

        E[(φ(z₁) - φ(z₂))²] = 2 o² (1 - ρ) + 2 e² (1 - h(ρ)).

    The weights' means carry the share c = 1/(1 + scale²) of their variance. They read that
    difference, the noise each φ separately; and the share of the output that comes from the means is
    the -ρ of the next layer. The correlation that repeats itself from layer to layer is used.
    """
    initializer = _base(entry.initializer)
    numbers = dict(entry.numbers)
    second = numbers.get("E[x²]")
    if not isinstance(initializer, LooksLinear) or initializer.mirror == "out" or second is None:
        return 1.0
    # Inside a chain the output has the critical size q; behind it, what the plan aims at.
    size = numbers.get("q", 1.0) if initializer.mirror == "both" else (entry.target or 1.0) ** 2
    power = initializer.gain**2 / size
    odd = min(1 / (4 * power), second)  # E[(φ(z) - φ(-z))²] = 4 o² is what the gain brings to q
    even = second - odd
    share = 1 / (1 + scale**2)
    correlation, total = -share, 1.0
    for _ in range(100):
        difference = 2 * odd * (1 - correlation) + 2 * even * (1 - _overlap(correlation))
        of_means = share * power * difference
        total = of_means + (1 - share) * power * 2 * second
        correlation = -of_means / total
    return 1 / math.sqrt(total)


def _base(initializer: Initializer | None) -> Initializer | None:
    return initializer.base if isinstance(initializer, Variational) else initializer


def _overlap(correlation: float) -> float:
    """E|z₁z₂| of standard normals (Cho & Saul 2009, from the arc-cosine kernel of degree 1)."""
    root = math.sqrt(max(1 - correlation**2, 0.0))
    return 2 / math.pi * (root + correlation * math.asin(max(-1.0, min(1.0, correlation))))
