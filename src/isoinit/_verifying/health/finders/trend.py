"""How the signal, the differences between examples, and the gradient change with depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

from isoinit._showing.findings import Finding
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.finders.scale import drawn_for
from isoinit._verifying.health.remedy import mend
from isoinit._verifying.health.series import FEWEST, Layer, slope

# A signal that changes a thousandfold between the first layer and the last leaves float16's range
# of useful gradients and stalls any optimizer with one learning rate (Glorot & Bengio 2010, figures
# 6 and 7; He et al. 2015, figure 3). Thirtyfold trains, but slowly.
# Weights that a norm layer stands behind grow under their gradient, which is at a right angle to
# them, and so their steps even out (Arora, Li & Lyu 2019; Yang et al. 2019 see it after one step):
# their gradients count by the root.
ERROR, WARNING = 1e3, 30.0
SOURCE = "Glorot & Bengio 2010, figures 6 and 7; He et al. 2015, figure 3"


def signal(facts: Facts) -> Iterator[Finding]:
    """The forward signal shrinks or grows with depth."""
    gone = facts.ahead.silent
    yield from _trend(facts, lambda x: x.uses[0].rms, gone, "signal", "activations", back=False)


def distinction(facts: Facts) -> Iterator[Finding]:
    """The outputs of different examples become the same with depth."""
    if facts.identical or facts.examples == 1:
        return
    gone, things = facts.ahead.blind, "differences between examples"
    found = _trend(facts, lambda x: x.uses[0].spread, gone, "distinction", things, back=False)
    for finding in found:
        if "exploding" not in finding.name:  # the size itself says so already
            yield finding


def gradient(facts: Facts) -> Iterator[Finding]:
    """The backward signal shrinks or grows on its way from the output."""
    gone = facts.ahead.stuck
    yield from _trend(facts, lambda x: x.gradient, gone, "gradient", "gradients", back=True)


def _trend(
    facts: Facts,
    size: Callable[[Layer], float],
    gone: Collection[str],
    what: str,
    things: str,
    *,
    back: bool,
) -> Iterator[Finding]:
    """Judge how a size changes along each series of layers; report the one that changes most."""
    every = list(dict.fromkeys(layer.name for layer in facts.measured.layers))
    zero = [name for name in every if name in gone]
    if zero and len(zero) > len(every) / 2:
        words = f"{things} are exactly zero and stay zero after the first steps"
        yield _finding(facts, f"no {what}", "error", zero, 0.0, words)
        return
    found = []
    for series in facts.series:
        sizes = series.sizes(size)
        if len(sizes) >= FEWEST:
            rate, power = slope(sizes), 0.5 if back and series.normed else 1.0
            found.append((power * abs(rate) * (len(sizes) - 1), rate, len(sizes), series))
    found = [one for one in found if one[0] > math.log(WARNING)]
    if not found:
        return
    weight, rate, depth, series = max(found, key=lambda one: one[0])
    grows = (rate > 0) is not back
    verb, name = ("grow", f"exploding {what}") if grows else ("shrink", f"vanishing {what}")
    direction = "per layer on the way back" if back else "per layer"
    change = math.exp(min(abs(rate) * (depth - 1), 700))
    each = f"{math.exp(abs(rate)):.3g}× {direction}"
    words = f"{things} {verb} by {each}, {change:.2g}× over {depth} layers"
    others = len(found) - 1
    if others:
        words += f", and likewise in {others} other kind{'s' * (others > 1)} of layers"
    severity = "error" if weight > math.log(ERROR) else "warning"
    value = change if grows else 1 / change
    yield _finding(facts, name, severity, series.names, value, words)


def _finding(
    facts: Facts, name: str, severity: str, where: Sequence[str], value: float, words: str
) -> Finding:
    span = f"layer {where[0]}" if len(where) == 1 else f"layers {where[0]} to {where[-1]}"
    why = drawn_for(facts, where)
    return Finding(
        name,
        severity,
        tuple(where),
        value,
        ERROR if severity == "error" else WARNING,
        SOURCE,
        mend(facts, where),
        f"{span}: {words}" + (f"; {why}" if why else ""),
    )
