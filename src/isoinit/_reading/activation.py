"""A function of one variable that a model applies to a signal, known by its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np

from isoinit._reading.graph import Array
from isoinit.errors import ArgumentError
from isoinit.initializers.scale.gains import (
    ACTIVATIONS,
    activation_gain,
    expectation,
    function_gain,
)

# A grid over the inputs that a unit sees, without round numbers: two functions that agree on all of
# it are the same for every purpose here.
GRID: Array = np.linspace(-6.0, 6.0, 96) + 1 / math.pi / 96


@dataclass(frozen=True)
class Activation:
    """A function of one variable, as it was measured.

    Attributes:
        name: a known name, or the operations that make it up, such as "mul·sigmoid·mul".
        slope: a leaky ReLU's slope on the negative side; 0 for all others.
        function: the function itself.
    """

    name: str
    slope: float = 0.0
    function: Callable[[Array], Array] = field(default=np.positive, compare=False, repr=False)

    @cached_property
    def gain(self) -> float:
        """E[φ(z)²]^(-1/2), exact for known names and by quadrature for any other."""
        if self.name == "leaky_relu":
            return activation_gain(self.name, self.slope)
        if self.name == "relu" or self.name in ACTIVATIONS:
            return activation_gain(self.name)
        return function_gain(self.function, self.name)

    @cached_property
    def mean(self) -> float:
        """E[φ(z)], by quadrature."""
        return expectation(self.function)


@cache
def _known() -> tuple[list[str], Array]:
    """The known functions by name, and their values on the grid, a row each."""
    return list(ACTIVATIONS), np.stack([known(GRID, 1.0) for known in ACTIVATIONS.values()])


@lru_cache(maxsize=1024)  # layers share few functions
def _named(held: bytes, dtype: np.dtype[Any]) -> tuple[str, float] | None:
    """Return the known name of a function of these values on the grid, and a leaky ReLU's slope."""
    values, negative = np.frombuffer(held, dtype), GRID < 0
    if np.allclose(values[~negative], GRID[~negative], rtol=1e-6, atol=1e-6):
        slope = float(f"{values[0] / GRID[0]:.9g}")  # 0.2, not 0.19999999999999998
        if np.allclose(values[negative], slope * GRID[negative], rtol=1e-6, atol=1e-6):
            return ("leaky_relu", slope) if abs(slope) > 1e-9 else ("relu", 0.0)
    names, known = _known()
    alike = (np.abs(values - known) <= 1e-6 + 1e-5 * np.abs(known)).all(1)
    return (names[int(alike.argmax())], 0.0) if alike.any() else None


def identify(names: Sequence[str], function: Callable[[Array], Array]) -> Activation | None:
    """Name a function by its values, so that a ReLU spelled `clamp(min=0)` is a ReLU.

    None where there is none (no names), or none that a gain exists for: a logarithm, a reciprocal.
    """
    if not names:
        return None
    values = function(GRID)
    if (found := _named(values.tobytes(), values.dtype)) is not None:
        return Activation(*found, function)
    measured = Activation("·".join(dict.fromkeys(names)), function=function)
    try:
        _ = measured.gain
    except ArgumentError:
        return None
    return measured
