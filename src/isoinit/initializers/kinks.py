"""Spherical and KinkBias: the first look at a few numbers, with kinks where the numbers are.

A layer of few inputs and biases of zero bends at one point alone: each unit of a ReLU network of one
input is x or -x times a number, so the layer spans two functions, however wide it is, and no later
layer can add any. Of n inputs it spans functions of the direction, and knows no length.
Kinks that cover the range of the inputs fix both (Steinwart 2019).

The weights are directions, so that every unit bends as sharply as any other; a bias puts the place
where its unit bends at a random distance from the centre of the inputs. It depends on the same stream
as the weight. Any part of it is computed without the weight, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream, laws
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, Initializer, WholeInitializer
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Spherical(WholeInitializer):
    """Weights that are, unit by unit, a direction drawn uniformly, of length `gain`.

    Use it for the layer that reads the features of an example, with `KinkBias`. Of a hundred inputs
    normal vectors are almost of one length, and `LeCunNormal` does the same.

    Args:
        gain: the length. A unit gets the variance gain² from independent inputs of variance one.
        sizes: the standard deviation of each input, which its weights are divided by; () for ones.

    Source: Steinwart 2019, section 4 (a direction from the sphere for each unit).

    Raises:
        ArgumentError: unless `gain` and all `sizes` are finite and above 0; on filling anything but
            a matrix of as many inputs as `sizes`.

    Example:
        >>> from isoinit._drawing.streams import Stream
        >>> from isoinit.initializers.scale import fans
        >>> weight = Spherical(gain=2.0).draw(Stream(0, "weight"), fans.linear((4, 3)))
        >>> bool(np.allclose(np.linalg.norm(weight, axis=1), 2))
        True
    """

    gain: float = 1.0
    sizes: tuple[float, ...] = ()
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)
        self._require_all("sizes", above=0)

    def std_for(self, layout: Layout) -> float:
        """Return gain/√inputs, times the root mean square of 1/size."""
        inputs = self._inputs(layout)
        squares = [1 / size / size for size in self.sizes] or [1.0]
        return self.gain * math.sqrt(sum(squares) / len(squares) / inputs)

    def of_input(self, layout: Layout, index: int) -> float:
        """Return the standard deviation of the weights of one input."""
        size = self.sizes[index] if self.sizes else 1.0
        return self.gain / math.sqrt(self._inputs(layout)) / size

    def largest_for(self, layout: Layout) -> float:
        """Return the length, divided by the least of the sizes."""
        return self.gain / min(self.sizes, default=1.0)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """Return normal rows, each divided by its length."""
        inputs = self._inputs(layout)
        drawn = np.empty(math.prod(layout.shape))
        stream.fill(drawn, laws.normal(0.0, 1.0, drawn.dtype))
        rows = layout.to_maps(drawn.reshape(layout.shape)).reshape(-1, inputs)
        # A cumulative sum has but one order, so that the bits are the same everywhere.
        lengths = np.sqrt(np.cumsum(np.square(rows), axis=1)[:, -1:])
        rows = rows / np.where(lengths > 0, lengths, 1.0) * self.gain
        if self.sizes:
            rows = rows / np.array(self.sizes)
        return np.asarray(layout.from_maps(rows.reshape(layout.maps_shape)))

    def _inputs(self, layout: Layout) -> int:
        """Return how many inputs a unit has.

        Raises:
            ArgumentError: unless the weight is a matrix of as many inputs as there are sizes.
        """
        self._require_map(layout)
        inputs = layout.maps_shape[2]
        if layout.kind != "linear" or (self.sizes and len(self.sizes) != inputs):
            wanted = f"{len(self.sizes)} inputs" if self.sizes else "a linear layer"
            raise ArgumentError(
                f"{self} needs a matrix (units, inputs) of {wanted}, found shape {layout.shape}"
            )
        return inputs


@dataclass(frozen=True)
class KinkBias(WholeInitializer):
    """Biases that put each unit's kink at a random distance from the centre of the inputs.

    b = -w·centre + ‖w∘sizes‖ u with u uniform in ±reach, w the weights of the unit: the unit bends
    where the inputs, standardized, have the projection u on its direction.

    A plan makes it beside `Spherical`. It is in step with the entry of `of`.

    Args:
        base: the initializer of the weight.
        of: the name of the weight, whose stream is drawn from.
        layout: what the axes of the weight mean.
        centre: the mean of each input.
        sizes: the standard deviation of each input.
        reach: how far from the centre, in standard deviations: √3 covers a uniform input.

    Source: Steinwart 2019, section 4 (kinks over the region of the data).

    Raises:
        ArgumentError: unless `centre` and `sizes` have a number for each input and `reach` is finite
            and above 0; on filling another shape than the weight has units.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
        >>> plan = isoinit.init(model, torch.linspace(0, 1, 100)[:, None], seed=0)
        >>> kinks = -model[0].bias / model[0].weight[:, 0]
        >>> bool((kinks > 0.5).any() and (kinks < 0.5).any())
        True
    """

    base: Initializer
    of: str
    layout: Layout
    centre: tuple[float, ...]
    sizes: tuple[float, ...]
    reach: float = math.sqrt(3)

    def __post_init__(self) -> None:
        self._require_base()
        self._require("reach", low=0, above=True)
        self._require_all("centre")
        self._require_all("sizes", above=0)
        inputs = self.layout.maps_shape[2]
        if not len(self.centre) == len(self.sizes) == inputs:
            raise ArgumentError(
                f"KinkBias(centre={self.centre}, sizes={self.sizes}): expected one number for "
                f"each of the {inputs} inputs of a weight of shape {self.layout.shape}"
            )

    def std_for(self, layout: Layout) -> float:
        """Return the root of Var(w·centre) + reach²/3 · E‖w∘sizes‖²."""
        units = math.prod(self.layout.shape) // max(self.layout.maps_shape[2], 1)
        if math.prod(layout.shape) != units:
            raise ArgumentError(
                f"{self} of a weight of shape {self.layout.shape} gives {units} biases, found shape "
                f"{layout.shape}"
            )
        moved = sum((std * c) ** 2 for std, c in zip(self._stds, self.centre, strict=True))
        return math.sqrt(moved + self.spread**2)

    def largest_for(self, layout: Layout) -> float:
        """Return reach·max ‖w∘sizes‖ + max |w·centre|."""
        return self.reach * self._longest(self.sizes) + self._longest(self.centre, dot=True)

    def _longest(self, factors: Sequence[float], *, dot: bool = False) -> float:
        """Return how long w∘factors may be, or how large w·factors.

        The weights of a sphere share its length: ‖w∘f‖ ≤ gain·max |f/size|, and |w·f| ≤ gain·‖f/size‖
        (Cauchy and Schwarz). Of others each may be as large as any.
        """
        if isinstance(self.base, Spherical):
            sizes = self.base.sizes or (1.0,) * len(factors)
            shares = [abs(f) / size for f, size in zip(factors, sizes, strict=True)]
            return self.base.gain * (math.hypot(*shares) if dot else max(shares))
        each = self.base.largest_for(self.layout)
        return each * (sum(map(abs, factors)) if dot else math.hypot(*factors))

    @property
    def spread(self) -> float:
        """The standard deviation of what a bias adds beside -w·centre."""
        square = sum((std * s) ** 2 for std, s in zip(self._stds, self.sizes, strict=True))
        return self.reach / math.sqrt(3) * math.sqrt(square)

    def around_centre(self, means: Sequence[float], stds: Sequence[float]) -> float:
        """Return the second moment of w·(x - centre) for inputs of these means and deviations."""
        given = zip(self._stds, self.centre, means, stds, strict=True)
        return sum(w**2 * (std**2 + (mean - c) ** 2) for w, c, mean, std in given)

    @property
    def _stds(self) -> list[float]:
        """The standard deviation of the weights of each input."""
        if isinstance(self.base, Spherical):
            return [self.base.of_input(self.layout, i) for i in range(len(self.centre))]
        return [self.base.std_for(self.layout)] * len(self.centre)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """Draw what the weight gets, and place the kinks."""
        weight = np.empty(math.prod(self.layout.shape))
        whole = Piece.whole(self.layout.shape)
        self.base.fill_piece(weight, replace(stream, name=self.of), self.layout, whole)
        rows = self.layout.to_maps(weight.reshape(self.layout.shape)).reshape(-1, len(self.sizes))
        shares = np.empty(len(rows))
        stream.fill(shares, laws.uniform(-self.reach, self.reach, shares.dtype))
        lengths = np.sqrt(np.cumsum(np.square(rows * np.array(self.sizes)), axis=1)[:, -1])
        moved = np.cumsum(rows * np.array(self.centre), axis=1)[:, -1]
        biases: Array = (lengths * shares - moved).reshape(layout.shape)
        return biases

    def __str__(self) -> str:
        return f"KinkBias(reach={self.reach:.3g})"
