"""Which weights a plain chain rests on: mirrored, plain or centred, and at which size of the signal.

Of all that keep signal and gradient alive over the chain's length, in layers of its widths, those are
chosen that leave the largest difference between examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isoinit._reading.graph import Array
from isoinit.initializers.scale.criticality import Point, point_of
from isoinit.initializers.scale.gains import Function
from isoinit.initializers.scale.mean_field import Way, responses
from isoinit.initializers.scale.survival import Survival, stays, survival

# Second moments of the pre-activations, the preferred one first: a signal near 1 is what most
# functions are made for. Below 0.25, finite layers let it sink under 0.4 now and then.
SIZES = (1.0, 0.7, 0.5, 0.36, 0.25)
# Those that must leave four times as much to be taken.
WIDER = (1.5, 2.0, 3.0, 5.0, 10.0, 0.1, 0.03, 0.01)
# What gradients may grow or shrink by over the whole chain before that counts against the weights.
CALM = 3.2
# Mirrored and centred weights do not go together: the one reads a mean that the other leaves.
FAMILIES: tuple[tuple[Way, ...], ...] = (("mirrored", "plain"), ("plain", "centred"))


@dataclass(frozen=True)
class Joint:
    """A function between the layers of a chain.

    Attributes:
        name: how a message calls it.
        ways: which weights can read it.
        biased: whether the layers behind it have biases.
        count: between how many layers of the longest path it stands.
        values: its values at some places, by which two functions are distinguished.
        function: the function itself.
    """

    name: str
    ways: tuple[Way, ...]
    biased: bool
    count: int
    values: bytes = b""
    function: Function = field(default=np.positive, compare=False, repr=False)


def values_of(function: Function) -> bytes:
    """Return a function's values at some places: the same for two spellings of one function."""
    places = np.linspace(-3.1, 3.1, 24)
    with np.errstate(all="ignore"):
        return np.asarray(function(places), np.float64).tobytes()


def points_for(joints: Sequence[Joint], noise: float) -> tuple[Point, ...] | None:
    """Return the fixed point that each function of a chain rests on, all at one size of the signal.

    Args:
        joints: the functions between the chain's layers.
        noise: the mean of 1/width over its layers.

    Returns:
        One point a joint; None where nothing keeps the chain alive.
    """
    key = (tuple(joints), noise)
    if key not in _memory:
        if len(_memory) > 256:
            _memory.clear()
        with np.errstate(all="ignore"):  # what is infinite is dead
            _memory[key] = _search(joints, noise)
    return _memory[key]


_memory: dict[tuple[tuple[Joint, ...], float], tuple[Point, ...] | None] = {}
_Found = tuple[Point, Survival]


def _search(joints: Sequence[Joint], noise: float) -> tuple[Point, ...] | None:
    most, best = 0.0, None
    for sizes, worth in ((SIZES, 1.0), (WIDER, 0.25)):
        for size in sizes if most < worth else ():
            for rest in _rests(joints, size, noise):
                score = worth * _score([left for _, left in rest])
                pairs = zip(joints, rest, strict=True)
                if score > most and all(stays(joint.function, *one) for joint, one in pairs):
                    most, best = score, tuple(point for point, _ in rest)
    return best


def _rests(joints: Sequence[Joint], size: float, noise: float) -> list[list[_Found]]:
    """Return for each family of weights the best one at each joint, where all have one."""
    found: list[dict[Way, _Found]] = []
    for joint in joints:
        at: dict[Way, _Found] = {}
        for way, read in responses(joint.function, size).items():
            point = point_of(way, read, biased=joint.biased)
            if way in joint.ways and point is not None:
                at[way] = point, survival(read, point, joint.count, noise)
        found.append(at)
    rests = []
    for family in FAMILIES:
        best = [[at[way] for way in family if way in at] for at in found]
        if all(best):
            rests.append([max(some, key=lambda one: _score([one[1]])) for some in best])
    return rests


def _score(parts: Sequence[Survival]) -> float:
    """Return the difference between examples that is left, less what the gradient loses; 0 if dead.

    To two digits, so that what is as good counts as equal on every machine.
    """
    whole = Survival(
        signal=math.hypot(*(part.signal for part in parts)),
        trend=sum(part.trend for part in parts),
        noise=math.hypot(*(part.noise for part in parts)),
        spread=math.prod(part.spread for part in parts),
        stable=all(part.stable for part in parts),
        ends=max(part.ends for part in parts),
    )
    if not whole.lives:
        return 0.0
    return max(round(whole.spread * min(1.0, CALM / math.exp(abs(whole.trend))), 2), 1e-3)


def is_odd(function: Function) -> bool:
    """Return whether a function is odd: a mirror would only repeat the unit."""
    z: Array = np.linspace(0.1, 4.0, 12)
    return bool(np.allclose(function(z), -function(-z), atol=1e-9))
