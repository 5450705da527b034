"""How what an operation makes grows with the axes that it works along, found by running it.

It is run on numbers with a mean and a variance, at two widths: their sizes tell the power. A mean
has 0, a sum 1, the length of a vector 1/2, a vector divided by its length -1/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoinit._reading.graph import Array, Graph, Op, ReplayError

WIDTHS = (16, 64)
NEAR = 0.12  # of a power: the largest of more numbers is larger by less


@dataclass(frozen=True)
class Along:
    """The axes of an operation's inputs that grow, and that it works along.

    Attributes:
        ratio: their growth.
        axes: for each input, which grow.
    """

    ratio: float
    axes: tuple[frozenset[int], ...]


def along(base: Graph, target: Graph, other: Op, op: Op) -> Along | None:
    """Return what an operation works along that grows; None if the base's inputs are not alike."""
    sizes = [
        (base.sizes.get(v, ()), target.sizes.get(w, ()))
        for v, w in zip(other.inputs, op.inputs, strict=False)
    ]
    if len(other.inputs) != len(op.inputs) or any(len(b) != len(t) for b, t in sizes):
        return None
    ratios = [{axis: m / n for axis, (n, m) in enumerate(zip(*pair, strict=True)) if m != n}
              for pair in sizes]  # fmt: skip
    made = [(base.sizes.get(v, ()), target.sizes.get(w, ()))
            for v, w in zip(other.outputs, op.outputs, strict=False)]  # fmt: skip
    kept = any(n != m for pair in made for n, m in zip(*pair, strict=False))
    used = [{a: r for a, r in one.items() if not kept or a in op.detail.dims} for one in ratios]
    ratio = max((ratio for one in used for ratio in one.values()), default=1.0)
    return Along(ratio, tuple(frozenset(one) for one in used))


def power(graph: Graph, op: Op, grown: Along) -> float | None:
    """Return the power of the growth that an operation's result has; None if it cannot be run."""
    found = []
    for width in WIDTHS:
        rng = np.random.default_rng(0)
        given = []
        for value, axes in zip(op.inputs, grown.axes, strict=True):
            shape = [
                width if a in axes else max(min(n, 3), 1) for a, n in enumerate(graph.sizes[value])
            ]
            given.append(1 + 0.5 * rng.standard_normal(shape))
        try:
            with np.errstate(all="ignore"):
                made = np.asarray(op.play(given)[0], np.float64)
        except (ReplayError, ValueError):  # of shapes that do not go together
            return None
        found.append(_size(made))
    return _power(found)


def _size(made: Array) -> float:
    return float(np.sqrt(np.mean(np.square(made)))) if made.size else 0.0


def _power(sizes: list[float]) -> float | None:
    if not all(0 < size < math.inf for size in sizes):
        return None
    found = math.log(sizes[1] / sizes[0]) / math.log(WIDTHS[1] / WIDTHS[0])
    half = round(2 * found) / 2
    return half if abs(found - half) < NEAR else None
