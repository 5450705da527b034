"""Orthogonal: a matrix that keeps the length of every signal, not only the mean length.

A product of random Gaussian matrices keeps the average length but stretches some directions and
crushes others, more with every factor; a product of orthogonal matrices is orthogonal. So deep
linear networks learn in a time that does not grow with depth (Saxe et al. 2014), tanh networks
reach dynamical isometry (Pennington et al. 2017; ReLU networks do not), and recurrent networks,
which apply one matrix at every step, neither explode nor forget at once.

Use it for recurrent weights, and for deep tanh or linear stacks. It costs O(n³) where the other
methods cost O(n²).

Where the sides differ, the shorter one is orthonormal. With fan_in ≥ fan_out the rows are
orthonormal, and a unit's variance is kept. With fan_out > fan_in the columns are: the *length* is
kept and distributed over more units, so that the variance a unit falls by fan_in/fan_out; a gain of
sqrt(fan_out/fan_in) restores it.

Arithmetic is float32, in float64 for float64 parameters, every sum in an order of its own: the bits
depend neither on the processor nor on the number of threads. An element of QᵀQ is within 1e-6 of the
identity's before it is rounded to shorter types.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isoinit._drawing.haar import haar
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, MapsInitializer, WholeInitializer
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.zero import at_centre


@dataclass(frozen=True)
class Orthogonal(MapsInitializer):
    """`gain` times a matrix with orthonormal rows or columns, uniform over all such (Haar).

    Use it for recurrent weights and for deep tanh or linear stacks. Not where time to initialize
    counts, since it costs O(n³), and expect no isometry of a ReLU network from it.

    Each packed block (the gates of an LSTM, packed query, key and value, the groups of a
    convolution) gets a matrix of its own. A convolution's kernel is seen as (out, in·taps), as in
    `torch.nn.init.orthogonal_`; that does not make the convolution an isometry: see
    `DeltaOrthogonal`.

    Source: Saxe et al. 2014, section 3; sampling: Stewart 1980, Mezzadri 2007.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; on filling a vector.
    """

    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)
    by_map: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """Gain / sqrt(longer side): unit vectors of the longer side have that many elements."""
        self._require_map(layout)
        _, n_out, n_in, taps = layout.maps_shape
        return self.gain / math.sqrt(max(n_out, n_in * taps))

    def largest_for(self, layout: Layout) -> float:
        """Return the gain: no element of an orthonormal vector is larger than 1."""
        return self.gain

    def write(self, maps: Array, stream: Stream, layout: Layout, first: int = 0) -> None:
        """One Haar matrix a block."""
        stack, n_out, n_in, taps = maps.shape
        haar(maps.reshape(stack, n_out, n_in * taps), stream, self.gain, first)


@dataclass(frozen=True)
class DeltaOrthogonal(WholeInitializer):
    """A convolution that is an isometry: zero but for an orthogonal centre tap.

    Use it for deep plain convolutional networks under tanh: 10,000 layers have been trained so. It
    needs at least as many outputs as inputs. Not where the kernel shall look at neighbours from the
    first step on: all of them start at zero.

    Source: Xiao et al. 2018, algorithm 1.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; if the layout is not a convolution or has
            fewer outputs than inputs.
    """

    gain: float = 1.0
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)
    centre_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """The root mean square of the elements, most of which are zero."""
        _, n_out, n_in, taps = layout.maps_shape
        if not layout.taps:
            raise ArgumentError(
                f"DeltaOrthogonal needs the kernel of a convolution, found shape {layout.shape}. "
                "For a matrix use Orthogonal()"
            )
        if n_out < n_in:
            raise ArgumentError(
                f"DeltaOrthogonal needs at least as many outputs as inputs, found {n_out} outputs and "
                f"{n_in} inputs in shape {layout.shape}; use Orthogonal()"
            )
        return self.gain / math.sqrt(n_out * taps)

    def largest_for(self, layout: Layout) -> float:
        """Return the gain: no element of an orthonormal vector is larger than 1."""
        return self.gain

    def share_for(self, layout: Layout) -> float:
        """Return the share of the centre tap."""
        return 1 / layout.maps_shape[3]

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """One Haar matrix a group, at the centre tap."""
        maps = np.empty(layout.maps_shape[:3])
        haar(maps, stream, self.gain)
        return at_centre(maps, layout)
