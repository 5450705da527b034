"""How parameters follow from a weight that a module computes of them.

The plan is for the weight: what multiplies the signal. Two kinds are exact. Under weight
normalization the lengths g follow from the direction v, by a formula. Under any other
parametrization that has torch's `right_inverse`, the parameters are what that gives for the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isoinit._reading.graph.ops import Array


@dataclass(frozen=True)
class Length:
    """The g of a weight g·v/‖v‖ (Salimans & Kingma 2016, eq. 2).

    Attributes:
        of: the name of v, which stands for the weight in the graph.
        axis: the axis of v along which each index has a length; None if all of v has one.
    """

    of: str
    axis: int | None


@dataclass(frozen=True)
class Chart:
    """A weight that is assigned through `right_inverse`.

    Attributes:
        parameters: the names of the parameters, in the order in which `right_inverse` returns them.
        carrier: the one that stands for the weight in the graph: of its shape, or else the first.
        single: whether `right_inverse` returns one tensor, and no sequence.
        direct: whether the carrier may hold the weight itself, and the same weight comes out.
        free: whether a weight twice as large comes out twice as large. Else a size is prescribed.
        assign: from a weight to the weight that comes out once it is assigned.
    """

    parameters: tuple[str, ...]
    carrier: str
    single: bool
    direct: bool
    free: bool
    assign: Callable[[Array], Array]
