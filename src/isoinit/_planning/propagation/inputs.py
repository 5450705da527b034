"""What the forward makes of its inputs before anything else: constant scalings and shifts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from isoinit._reading.few_inputs import FEW
from isoinit._reading.graph import (
    LAYERS,
    SUMS,
    Array,
    Given,
    Graph,
    Op,
    ReplayError,
    elementwise,
    run_ops,
)
from isoinit._reading.roles import Role

STANDARD = Given(0.0, 1.0, 0.0, 0.0)
# The root mean squares at which an input is meant to reach a layer. Standardized inputs, pixels of 0
# to 1 and one-hot vectors of up to 400 classes lie between; pixels of 0 to 255 do not, nor do
# standardized inputs that were divided by 255.
LEAST, MOST = 0.05, 20.0
# Where no constant scaling comes first, standardized inputs, pixels of 0 to 1, one-hot vectors and an
# example of random numbers stand for each other; raw columns and pixels of 0 to 255 do not.
TINY, LARGE = 0.01, 4.0
SEEN = 0.25  # of the columns of an example: fewer drown the others
SCALINGS = frozenset({"mul", "div", "add", "sub"})
Line = tuple[float, float, float, float]  # a·x + b: mean and mean square of a, then of b
SAME: Line = (1.0, 1.0, 0.0, 0.0)
POINTS = np.array([-3.3, -1.0, 0.0, 1.0, 2.6, 400.0])  # not whole alone: floor(x) is no line


@dataclass(frozen=True)
class Arrival:
    """A tensor of the example behind constant scalings and shifts alone.

    Attributes:
        given: the moments to go by: the example's own, or those of a standardized input where the
            example has none, is constant, or reaches a layer at a size that is hardly meant. None
            where a function came first: then what the walk finds counts, unless that is hardly meant.
        rms: the root mean square of the example there; 0 where the example has none.
        layer: the first weight that reads it at a size that is hardly meant; "" where none does.
    """

    given: Given | None
    rms: float = 0.0
    layer: str = ""

    def counts(self, second: float | None) -> Given | None:
        """Return the moments that count, given the second moment that a walk finds; None for those."""
        if self.given is not None or (second is not None and LEAST**2 < second < MOST**2):
            return self.given
        return STANDARD


class _Met(NamedTuple):
    """What the example met on its way to a value: its moments there, scalings, other functions.

    Where its units differ, so may their constants (means and deviations by column): `apart`.
    """

    start: int
    given: Given | None
    scaled: bool = False
    bent: bool = False
    apart: bool = False


def arrivals(graph: Graph) -> dict[int, Arrival]:
    """Return what the example is behind the constant scalings that it meets first, by value.

    A model that divides by 255 is meant for pixels: its example tells the size that its first
    layer sees. An input that meets no such scaling is not among them; one that meets another
    function before it is, as it is given.
    """
    met: dict[int, _Met] = {}
    for op in graph.ops:
        if len(op.inputs) != 1 or op.uses or op.kind not in ("move", "other"):
            continue
        value = op.inputs[0]
        if value not in graph.producers:
            before = _Met(value, graph.given.get(value))
        elif value in met:
            before = met[value]
        else:
            continue
        line = SAME if op.kind == "move" else _line(op)
        uneven = before.given is not None and before.given.uneven
        if line is not None and uneven and op.replay is None and op.kind != "move":
            after = before._replace(given=None, scaled=True, apart=True)
        elif line is not None:
            scaled = before.scaled or line != SAME
            after = before._replace(given=_moved(before.given, line), scaled=scaled)
        elif op.replay is not None and not before.scaled:
            after = before._replace(given=None, bent=True)
        else:
            continue
        met.update(dict.fromkeys(op.outputs, after))
    found = {value: _arrival(graph, value, at) for value, at in met.items() if at.scaled}
    starts = {at.start for at in met.values() if at.scaled and at.bent}
    return found | {
        value: _arrival(graph, value, _Met(value, graph.given.get(value))) for value in starts
    }


def _line(op: Op) -> Line | None:
    """Return a and b of an operation a·x + b, each by its mean and mean square; None for any other.

    None also where it takes a constant tensor whose values are not known.
    """
    if op.replay is not None:
        try:
            made = elementwise(partial(_played, op), [POINTS], rtol=1e-6, atol=1e-9)
        except ReplayError:  # no function of single elements: the walk says what is not followed
            return None
        if not np.isfinite(made).all():
            return None
        made = np.asarray(made, np.float64)  # a comparison gives booleans
        offset, slope = float(made[2]), float(made[3] - made[2])
        if slope == 0 or not np.allclose(made, offset + slope * POINTS, rtol=1e-5, atol=1e-9):
            return None
        return slope, slope**2, offset, offset**2
    if op.detail.constant is None or op.name not in SCALINGS:
        return None
    mean, second = op.detail.constant
    if op.name == "mul":
        return mean, second, 0.0, 0.0
    if op.name == "div":
        return (1 / mean if mean else 0.0, 1 / second, 0.0, 0.0) if second else None
    return 1.0, 1.0, mean if op.name == "add" else -mean, second


def _played(op: Op, rows: Sequence[Array]) -> Array:
    return run_ops((op,), dict(zip(op.inputs, rows, strict=True)))[op.outputs[0]]


def _moved(given: Given | None, line: Line) -> Given | None:
    """Return the moments of a·x + b; units keep their own a and b from place to place."""
    if given is None:
        return None
    slope, slopes, offset, offsets = line
    rest = 2 * slope * offset * given.mean + offsets
    second, nearby, across = (
        slopes * product + rest for product in (given.second, given.nearby, given.across)
    )
    return Given(slope * given.mean + offset, second, nearby, across, uneven=given.uneven)


def _arrival(graph: Graph, value: int, met: _Met) -> Arrival:
    if met.apart:
        return Arrival(STANDARD, 1.0)
    if met.bent:
        return Arrival(None, 1.0)
    if met.given is None:
        return Arrival(STANDARD)
    given, rms = met.given, math.sqrt(max(met.given.second, 0.0))
    if not given.varies:
        return Arrival(STANDARD, rms)
    layer = "" if LEAST < rms < MOST else reader(graph, value)
    return Arrival(STANDARD if layer else given, rms, layer)


def reader(graph: Graph, value: int) -> str:
    """Return the first weight that multiplies a value, perhaps rearranged; "" if none does."""
    waiting = [value]
    while waiting:
        for op in graph.consumers.get(waiting.pop(0), []):
            weights = [use.parameter for use in op.uses if "weight" in use.slot]
            if op.kind in LAYERS and op.kind != "lookup" and weights:
                return weights[0]
            if op.kind == "move":
                waiting.extend(op.outputs)
    return ""


def nominal_of(graph: Graph, value: int) -> Given:
    """Return the moments that a plan goes by for an input: standardized, or larger if the example is.

    A plan shall be that of any batch of the same data, so only a size that is far from one counts, by
    the nearest power of two. Small inputs count as standardized: weights that made up for them would
    be large, and an optimizer whose steps are of one size, such as Adam, moves large weights slowly.
    For the same reason the size does not count where the output is the example and what is added to
    it: the last weights would have to make up for the first.
    """
    given = graph.given.get(value)
    if given is None or is_in_units_of_output(graph, value):
        return STANDARD
    return Given(0.0, _power_of_two(given) ** 2, 0.0, 0.0)


def is_in_units_of_output(graph: Graph, value: int) -> bool:
    """Return whether an input is large, and the output is it and what is added to it."""
    given = graph.given.get(value)
    return given is not None and _power_of_two(given) != 1 and is_carried(graph, value)


def is_carried(graph: Graph, value: int) -> bool:
    """Return whether sums and rearrangements alone carry an input, or a part of it, to the output."""
    waiting, met = [value], {value}
    while waiting:
        if (at := waiting.pop()) in graph.outputs:
            return True
        for op in graph.consumers.get(at, []):
            if (op.kind == "move" and not op.uses) or op.is_neutral or op.name in SUMS:
                new = [v for v in op.outputs if v not in met]
                met.update(new)
                waiting.extend(new)
    return False


def _power_of_two(given: Given) -> float:
    """Return the root mean square of a large example as a power of two; 1 for any other."""
    rms = math.sqrt(max(given.second, 0.0))
    return float(2.0 ** round(math.log2(rms))) if given.varies and rms > LARGE else 1.0


def is_drowned(given: Given) -> bool:
    """Return whether a few columns of an example are so large that the others count for nothing."""
    return given.uneven and given.seen < SEEN


def unusual(graph: Graph, roles: Mapping[str, Role]) -> tuple[str, ...]:
    """Return where an example is of unusual size, or its units differ, one sentence each."""
    scaled, notes = arrivals(graph), []
    for value, given in graph.given.items():
        told = given.fixed or 1 <= len(given.units) <= FEW
        layer = "" if told else reader(graph, value)
        if not layer or not given.varies or value in scaled:
            continue
        rms = f"the example reaches {layer!r} with a root mean square of {math.sqrt(given.second):.3g}"
        size = _power_of_two(given)
        if is_in_units_of_output(graph, value):
            notes.append(
                f"{rms}, which the output shares, since it is the example and what is added to it: "
                "standardize the inputs and the targets"
            )
        elif layer in roles and roles[layer].few:
            if size != 1 or given.second < TINY**2 or is_drowned(given):
                notes.append(
                    f"{rms}; its weights are divided by the standard deviation of each column, so "
                    "the plan depends on the example: standardize the columns (mean 0 and standard "
                    "deviation 1) for a plan that does not"
                )
            continue
        elif size != 1:
            notes.append(
                f"{rms}, so its scale is that for inputs of {size:g}, and depends on the example; "
                "standardize the inputs for a plan that does not"
            )
        elif given.second < TINY**2:
            notes.append(f"{rms}, and the signal starts as small: standardize the inputs")
        if is_drowned(given):
            notes.append(
                f"the columns of the example that {layer!r} reads are of very different sizes, and a "
                "few drown the others: standardize them (mean 0 and deviation 1 each), since no "
                "initialization makes up for it in training"
            )
    return tuple(notes)


def hardly_meant(graph: Graph) -> tuple[str, ...]:
    """Return where an example reaches a layer at a size that is hardly meant, one sentence each."""
    found = {a.layer: a.rms for a in arrivals(graph).values() if a.layer}
    return tuple(
        f"the example reaches {layer!r} with a root mean square of {rms:.3g}, after the constant "
        "scalings of the forward; the plan takes it for 1: pass an example as the model will see "
        "them, such as pixels of 0 to 255 for a model that divides by 255"
        for layer, rms in found.items()
    )
