"""How the signal, the differences between examples, and the gradient change with depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from isoinit._showing.findings import Finding
from isoinit._verifying.health.facts import APPLY, Facts
from isoinit._verifying.health.finders.scale import drawn_for
from isoinit._verifying.health.layers import LayerHealth

# A signal that changes a thousandfold between the first layer and the last leaves float16's range
# of useful gradients and stalls any optimizer with one learning rate (Glorot & Bengio 2010, figures
# 6 and 7; He et al. 2015, figure 3). Thirtyfold trains, but slowly.
ERROR, WARNING = 1e3, 30.0
SOURCE = "Glorot & Bengio 2010, figures 6 and 7; He et al. 2015, figure 3"


def signal(facts: Facts) -> Iterator[Finding]:
    """The forward signal shrinks or grows with depth."""
    layers = facts.measured.layers
    yield from _trend(facts, layers, lambda x: x.rms, "signal", "activations", back=False)


def distinction(facts: Facts) -> Iterator[Finding]:
    """The outputs of different examples become the same with depth."""
    if facts.identical:
        return
    known = [layer for layer in facts.measured.layers if not math.isnan(layer.spread)]
    found = _trend(
        facts, known, lambda x: x.spread, "distinction", "differences between examples", back=False
    )
    for finding in found:
        if "exploding" not in finding.name:  # the size itself says so already
            yield finding


def gradient(facts: Facts) -> Iterator[Finding]:
    """The backward signal shrinks or grows on its way from the output."""
    came = [
        layer
        for layer in facts.measured.layers
        if not math.isnan(layer.gradient)
        and not (layer.gradient == 0 and layer.value in facts.shut)
    ]

    def norm(layer: LayerHealth) -> float:
        # What an orthogonal layer keeps is the length of the gradient, however many elements its
        # input has and its output.
        return layer.gradient * math.sqrt(layer.elements)

    yield from _trend(facts, came, norm, "gradient", "gradients", back=True)


def _trend(
    facts: Facts,
    layers: Sequence[LayerHealth],
    size: Callable[[LayerHealth], float],
    what: str,
    things: str,
    *,
    back: bool,
) -> Iterator[Finding]:
    """Judge how a size changes with depth, by the median slope of its logarithm (Theil–Sen).

    The median slope follows a steady change over the layers and not a few layers of another kind.
    """
    sized = [(layer.name, size(layer)) for layer in layers if math.isfinite(size(layer))]
    gone = [name for name, s in sized if s == 0]
    alive = [(name, math.log(s)) for name, s in sized if s > 0]
    if gone and (not alive or len(gone) > len(sized) / 2):
        yield _finding(facts, f"no {what}", "error", gone, 0.0, f"{things} are exactly zero")
        return
    if len(alive) < 2:
        return
    slopes = [
        (alive[j][1] - alive[i][1]) / (j - i)
        for i in range(len(alive))
        for j in range(i + 1, len(alive))
    ]
    rate = median(slopes) * (-1 if back else 1)
    total = math.exp(min(rate * (len(sized) - 1), 700))
    change = max(total, 1 / total if total > 0 else math.inf)
    if change > WARNING:
        verb, name = ("grow", f"exploding {what}") if rate > 0 else ("shrink", f"vanishing {what}")
        direction = "a layer on their way back" if back else "a layer with depth"
        words = (
            f"{things} {verb} by {math.exp(abs(rate)):.3g}× {direction}, {change:.2g}× over "
            f"{len(sized)} layers"
        )
        severity = "error" if change > ERROR else "warning"
        yield _finding(facts, name, severity, [name for name, _ in sized], total, words)


def _finding(
    facts: Facts, name: str, severity: str, where: Sequence[str], value: float, words: str
) -> Finding:
    span = f"layer {where[0]}" if len(where) == 1 else f"layers {where[0]} to {where[-1]}"
    why = drawn_for(facts, where)
    would = facts.furthest(where)
    return Finding(
        name,
        severity,
        tuple(where),
        value,
        ERROR if severity == "error" else WARNING,
        SOURCE,
        would or APPLY,
        f"{span}: {words}" + (f"; {why}" if why else ""),
    )
