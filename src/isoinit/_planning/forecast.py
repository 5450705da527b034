"""Where the signal or the gradient is predicted to vanish or to explode over a model's layers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from isoinit._planning.propagation import Signal
from isoinit._planning.propagation.backward import Gradient
from isoinit._planning.trend import median_slope
from isoinit._reading.graph import Graph, Join, Kind, Op

# A hundredfold over all layers: beyond it, one learning rate cannot serve the first layers and the
# last (Glorot & Bengio 2010, figures 6 and 7; He et al. 2015, figure 3).
LARGEST = 100.0
FEWEST = 4  # layers in a row: of fewer the first and the last alone would decide
SMALL = 0.1  # of what it is added to: a branch that starts smaller is meant to
MAPS: tuple[Kind, ...] = ("map", "recurrent", "attention")
CURE = "add a norm layer every few layers or residual branches, or use another activation"


def forecast(
    graph: Graph, signals: Mapping[int, Signal], gradients: Mapping[int, Gradient | None]
) -> tuple[str, ...]:
    """Return a warning for a signal, and one for a gradient, that changes too much over the layers.

    Of the layers at one depth the largest counts: queries and keys receive less than values do, and
    a skip carries what its branch does not. Layers inside a branch that starts small on purpose are
    left out, and what is exactly zero. The trend is the median slope of the logarithm (Theil–Sen).

    Args:
        graph: what the model does.
        signals: what is expected of each value, where it is known.
        gradients: the same of the gradients.
    """
    layers = _layers(graph, signals)
    # Before a norm layer the gradient is as large as the weights are small, and neither matters.
    norms = {given: graph.ops[index].outputs[0] for index, given in graph.norms.items()}
    made = {op.index: norms.get(op.outputs[0], op.outputs[0]) for op in layers}
    sizes = {index: signals[value].rms for index, value in made.items() if value in signals}
    back = {index: _whole(graph, signals, gradients, value) for index, value in made.items()}
    found = (
        _judged(graph, layers, sizes, "signal", "with depth"),
        _judged(graph, layers, back, "gradient", "on its way back"),
    )
    return tuple(warning for warning in found if warning)


def _layers(graph: Graph, signals: Mapping[int, Signal]) -> list[Op]:
    """Return the layers with a weight, but for those inside branches that start small on purpose."""
    small: set[int] = set()
    for join in graph.joins.values():
        if _starts_small(join, signals):
            small |= graph.inside(join)
    return [op for op in graph.ops if op.kind in MAPS and op.uses and op.index not in small]


def _starts_small(join: Join, signals: Mapping[int, Signal]) -> bool:
    start, branch = signals.get(join.start), signals.get(join.branch)
    return start is None or branch is None or branch.rms < SMALL * start.rms


def _whole(
    graph: Graph,
    signals: Mapping[int, Signal],
    gradients: Mapping[int, Gradient | None],
    value: int,
) -> float:
    """Return the size of the gradient at all places of one example together.

    A mean over places gives each a small part of one gradient, and they act as one on the weights
    before it: what two places share counts as a sum.
    """
    gradient, signal = gradients.get(value), signals.get(value)
    if gradient is None:
        return 0.0
    size = graph.sizes.get(value, (1,))
    units = signal.units if signal is not None else {len(size) - 1}
    places = math.prod(n for axis, n in enumerate(size) if axis not in (0, *units))
    own = gradient.second - gradient.near
    return math.sqrt(max(places * own + places**2 * gradient.near, gradient.second))


def _judged(graph: Graph, layers: list[Op], sizes: Mapping[int, float], what: str, way: str) -> str:
    """Return the warning about one of the two; empty if it changes little."""
    largest: dict[int, float] = {}
    depths = _depths(graph)
    for op in layers:
        if (size := sizes.get(op.index, 0.0)) > 0:
            largest[depths[op.index]] = max(largest.get(depths[op.index], 0.0), size)
    known = [(depth, math.log(size)) for depth, size in sorted(largest.items())]
    weights = {op.uses[0].parameter for op in layers}  # a loop applies one again and again
    if min(len(known), len(weights)) < FEWEST:
        return ""
    slope = median_slope([size for _, size in known], [depth for depth, _ in known])
    rate = slope * (known[-1][0] - known[0][0]) * (-1 if what == "gradient" else 1)
    if abs(rate) < math.log(LARGEST):
        return ""
    ends = [next(op for op in layers if depths[op.index] == known[i][0]) for i in (0, -1)]
    first, last = (op.uses[0].parameter for op in ends)
    verb = "explode" if rate > 0 else "vanish"
    return (
        f"the {what} is predicted to {verb}: from {first!r} to {last!r} it "
        f"{'grows' if rate > 0 else 'shrinks'} about {math.exp(min(abs(rate), 690)):.2g} times {way} "
        f"({len(known)} layers in a row); {CURE}"
    )


def _depths(graph: Graph) -> dict[int, int]:
    """Return how many layers stand one behind the other up to each operation, by its index."""
    reached: dict[int, int] = {}
    found: dict[int, int] = {}
    for op in graph.ops:
        before = max((reached.get(value, 0) for value in op.inputs), default=0)
        found[op.index] = before + (op.kind in MAPS and bool(op.uses))
        reached.update(dict.fromkeys(op.outputs, found[op.index]))
    return found
