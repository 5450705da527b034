"""He/Kaiming: a variance that undoes what the activation takes.

ReLU sets half of its inputs to zero, so a layer of ReLU units halves the second moment. He et al.
(2015, section 2.2) restore it with Var(w) = 2/fan_in (eq. 10) for the forward signal, or 2/fan_out
(eq. 14) for the gradient; for a leaky ReLU of slope a, 2/((1 + a²)·fan) (eq. 15). The same argument
gives gain²/fan for any activation, with its own gain E[φ(z)²]^(-1/2).

Use it for ReLU and everything like it. Not for SELU, which keeps the variance by itself (LeCun), nor
for tanh in deep networks, where the forward gain makes gradients grow by 1.18 a layer (Xavier).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from isoinit._drawing.streams import laws
from isoinit._drawing.streams.philox import Law
from isoinit.errors import ArgumentError
from isoinit.initializers.base import IndependentInitializer
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.scale.gains import activation_gain

MODES = ("fan_in", "fan_out", "fan_avg")


@dataclass(frozen=True)
class _He(IndependentInitializer):
    a: float = 0.0
    mode: str = "fan_in"
    nonlinearity: str = "leaky_relu"
    gain: float = cast("float", None)  # None only until __post_init__ has worked it out
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        self._require("a")
        if self.mode not in MODES:
            raise ArgumentError(
                f"{type(self).__name__}(mode={self.mode!r}): expected one of {', '.join(MODES)}"
            )
        slope = self.a if self.nonlinearity == "leaky_relu" else None
        named = activation_gain(self.nonlinearity, slope)
        if cast("float | None", self.gain) is None:
            object.__setattr__(self, "gain", named)
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """Gain / sqrt(fan), the fan that `mode` names."""
        self._require_map(layout)
        fans = {"fan_in": layout.fan_in, "fan_out": layout.fan_out}
        fans["fan_avg"] = (layout.fan_in + layout.fan_out) / 2
        return self.gain / math.sqrt(fans[self.mode])


@dataclass(frozen=True)
class HeNormal(_He):
    """N(0, gain²/fan), by default N(0, 2/fan_in): weights around ReLU.

    Use it for ReLU, leaky ReLU and, by its gain, any function that takes part of the signal. Not for
    SELU, which keeps the variance by itself (`LeCunNormal`), nor for deep tanh networks, where the
    forward gain makes gradients grow (`XavierNormal`).

    Args:
        a: the slope of a leaky ReLU; 0 is ReLU itself.
        mode: "fan_in" keeps the forward signal, "fan_out" the gradient, "fan_avg" takes the mean of
            both fans.
        nonlinearity: the activation's name, if not (leaky) ReLU: "gelu", "silu", "elu", ...
        gain: the gain itself, for any other function: `isoinit.gain(function)`; it wins over
            `nonlinearity`, from which it is worked out by default.

    Source: He et al. 2015, eq. 10, 14 and 15.

    Raises:
        ArgumentError: for an unknown mode or nonlinearity, a gain that is not finite and above 0,
            and on filling a vector.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> HeNormal().std_for(fans.linear((64, 128)))
        0.125
    """

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Normal."""
        return laws.normal(0.0, self.std_for(layout), dtype)


@dataclass(frozen=True)
class HeUniform(_He):
    """U(-r, r) with r = gain · sqrt(3/fan), by default sqrt(6/fan_in): `HeNormal` within bounds.

    Use it as `HeNormal`, where no weight may be far larger than the others. Not for SELU or tanh.
    The options, the source and the errors are those of `HeNormal`.
    """

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Uniform."""
        bound = math.sqrt(3) * self.std_for(layout)
        return laws.uniform(-bound, bound, dtype)
