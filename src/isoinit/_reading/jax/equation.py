"""One equation of a jaxpr, with what its operands hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isoinit._reading.jax.held import Held


@dataclass
class Equation:
    """One equation, with what its operands hold.

    Attributes:
        name: the primitive's.
        params: the primitive's own.
        operands: what it reads.
        shapes, dtypes: of what it makes.
        read: the types of what it reads.
        bind: makes it once more, of arrays.
    """

    name: str
    params: Mapping[str, Any]
    operands: list[Held]
    shapes: list[tuple[int, ...]]
    dtypes: list[Any]
    read: list[Any]
    bind: Any = field(repr=False)


def plain_body(body: Any) -> Any:
    """Return the jaxpr that an equation calls, without the constants that it may come with."""
    return body.jaxpr if hasattr(body, "consts") else body


def scan_counts(eqn: Any) -> tuple[int, int]:
    """Return how many operands each step of a scan reads as they are, and how many it carries on.

    What a scan goes through has one axis more outside than in a step. The ranks tell both counts;
    JAX gives them by other names since 0.12.
    """
    inner = plain_body(eqn.params["jaxpr"])
    rows = _deeper(eqn.invars, inner.invars)
    carried = len(eqn.outvars) - _deeper(eqn.outvars, inner.outvars)
    return len(eqn.invars) - rows - carried, carried


def _deeper(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    pairs = zip(outside, inside, strict=True)
    return sum(len(outer.aval.shape) > len(inner.aval.shape) for outer, inner in pairs)
