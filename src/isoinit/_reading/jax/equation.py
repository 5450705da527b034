"""One equation of a jaxpr, with what its operands hold."""

from __future__ import annotations

from collections.abc import Mapping
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
