"""Zero and its kin: parameters that start at a fixed value, the same under every seed.

Right for biases, norm shifts (zero) and norm scales (one). Wrong for weight matrices, except at the
end of a residual branch: units with identical incoming and outgoing weights compute the same
function, receive the same gradient, and stay identical for ever, so that a layer of a thousand
units learns no more than one. Where the weight ends a residual branch, the skip path carries the
signal and breaks the symmetry, and zero makes the block start as the identity (Goyal et al. 2017,
section 5.1; Zhang et al. 2019).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isoinit._drawing.streams import Stream, laws
from isoinit._drawing.streams.philox import Law
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, IndependentInitializer, Initializer, WholeInitializer
from isoinit.initializers.scale.fans import Layout


class _Fixed(IndependentInitializer):
    """Every element the same, whatever the layout and the seed."""

    @property
    @abstractmethod
    def _value(self) -> float: ...

    @property
    def is_constant(self) -> bool:
        """Every unit starts the same."""
        return True

    def std_for(self, layout: Layout) -> float:
        """Zero: nothing varies."""
        return 0.0

    def mean_for(self, layout: Layout) -> float:
        """The value."""
        return self._value

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """The value; nothing is drawn."""
        return laws.fixed(self._value, dtype)


@dataclass(frozen=True)
class Constant(_Fixed):
    """Every element is `val`.

    Use it for biases with a known good start: 1 for an LSTM's forget gate (Gers et al. 2000), or
    the log odds of the classes for an output bias. Don't use it for a weight matrix: see above.

    Raises:
        ArgumentError: if `val` is not finite.
    """

    val: float
    _sizes: ClassVar[tuple[str, ...]] = ("val",)

    def __post_init__(self) -> None:
        self._require("val")

    @property
    def _value(self) -> float:
        return self.val


@dataclass(frozen=True)
class Zeros(_Fixed):
    """Every element is 0: biases, norm shifts, the last layer of a residual branch.

    Not for other weight matrices: their units would stay identical for ever.
    """

    @property
    def _value(self) -> float:
        return 0.0

    def scaled(self, factor: float) -> Initializer:
        """Itself: zero stays zero."""
        Constant(1.0).scaled(factor)  # refuses what is no factor
        return self


@dataclass(frozen=True)
class Ones(_Fixed):
    """Every element is 1: the scales of norm layers, which then start without effect.

    Not for weight matrices: their units would stay identical for ever.
    """

    @property
    def _value(self) -> float:
        return 1.0

    def scaled(self, factor: float) -> Initializer:
        """A constant."""
        return Constant(1.0).scaled(factor)


@dataclass(frozen=True)
class GateBias(WholeInitializer):
    """The stacked bias of a gated layer: `val` for one gate, zero for the others.

    The default is an LSTM's forget gate at one, in torch's order (input, forget, cell, output), so
    that the cell keeps its memory until it has learned to forget. Torch adds two bias vectors: give
    this to one of them and `Zeros` to the other.

    Source: Gers et al. 2000; Jozefowicz et al. 2015.

    Raises:
        ArgumentError: unless `val` is finite and `gate` one of `gates`; if the bias does not split
            into `gates` equal parts.
    """

    val: float = 1.0
    gate: int = 1
    gates: int = 4
    _sizes: ClassVar[tuple[str, ...]] = ("val",)

    def __post_init__(self) -> None:
        self._require("val")
        self._require("gates", low=1, whole=True)
        self._require("gate", low=0, high=self.gates - 1, whole=True)

    @property
    def is_fixed(self) -> bool:
        """Nothing is drawn."""
        return True

    def std_for(self, layout: Layout) -> float:
        """The standard deviation over the gates."""
        if math.prod(layout.shape) % self.gates:
            raise ArgumentError(
                f"{self} needs a bias with a length that is divisible by {self.gates} (gates), "
                f"found shape {layout.shape}"
            )
        return abs(self.val) * math.sqrt(self.gates - 1) / self.gates

    def mean_for(self, layout: Layout) -> float:
        """The mean over the gates."""
        return self.val / self.gates

    def largest_for(self, layout: Layout) -> float:
        """Return the magnitude of all that is not zero."""
        return abs(self.val)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The bias; the stream is not used."""
        bias = np.zeros((self.gates, math.prod(layout.shape) // self.gates))
        bias[self.gate] = self.val
        return bias.reshape(layout.shape)


@dataclass(frozen=True)
class Identity(WholeInitializer):
    """A matrix with `gain` on its main diagonal and zero elsewhere, block by block.

    Use it for recurrent weights under ReLU (IRNN: Le et al. 2015; `gain=0.01` for quicker
    forgetting) and for square layers that should start as "do nothing". Where the sides differ the
    spare rows or columns are zero, and units behind zero rows start dead. For convolutions use
    `Dirac`.
    """

    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        self._require("gain")

    @property
    def is_fixed(self) -> bool:
        """Nothing is drawn."""
        return True

    def std_for(self, layout: Layout) -> float:
        """The root mean square of the elements: min(out, in) of out·in are non-zero."""
        self._require_map(layout)
        _, n_out, n_in, taps = layout.maps_shape
        if taps > 1:
            raise ArgumentError(
                f"Identity needs a matrix, found a convolution kernel of shape {layout.shape}. "
                "Use Dirac()"
            )
        return abs(self.gain) * math.sqrt(min(n_out, n_in) / (n_out * n_in))

    def largest_for(self, layout: Layout) -> float:
        """Return the magnitude of all that is not zero."""
        return abs(self.gain)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The identity of each block; the stream is not used."""
        stack, n_out, n_in, _ = layout.maps_shape
        eye = self.gain * np.eye(n_out, n_in)
        return layout.from_maps(np.broadcast_to(eye[None, :, :, None], (stack, n_out, n_in, 1)))


@dataclass(frozen=True)
class Dirac(WholeInitializer):
    """A convolution that hands its input channels through: the centre tap is `gain` · identity.

    Use it for convolutions that should start as "do nothing". Not for stacks of them without other
    weights: outputs beyond the inputs start dead.

    Each group gets its own identity, as in `torch.nn.init.dirac_`. Output channels beyond the
    input's are zero. For matrices use `Identity`.

    Source: Zagoruyko & Komodakis 2017.

    Raises:
        ArgumentError: if `gain` is not finite; if the layout is not a convolution.
    """

    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)
    centre_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require("gain")

    @property
    def is_fixed(self) -> bool:
        """Nothing is drawn."""
        return True

    def std_for(self, layout: Layout) -> float:
        """The root mean square of the elements."""
        if not layout.taps:
            raise ArgumentError(
                f"Dirac needs a convolution kernel, found shape {layout.shape}. For a matrix use "
                "Identity()"
            )
        _, n_out, n_in, taps = layout.maps_shape
        return abs(self.gain) * math.sqrt(min(n_out, n_in) / (n_out * n_in * taps))

    def largest_for(self, layout: Layout) -> float:
        """Return the magnitude of all that is not zero."""
        return abs(self.gain)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The identity at the centre tap; the stream is not used."""
        return at_centre(self.gain * np.eye(*layout.maps_shape[1:3]), layout)


def at_centre(maps: Array, layout: Layout) -> Array:
    """A kernel that is zero but for its centre tap, which holds `maps` ([stack,] out, in)."""
    kernel = np.zeros(layout.maps_shape)
    kernel[..., centre_of(layout)] = maps
    return layout.from_maps(kernel)


def centre_of(layout: Layout) -> int:
    """Return which of a kernel's taps, in a row, is its centre."""
    return int(np.ravel_multi_index([size // 2 for size in layout.kernel], layout.kernel))
