"""Looks-linear: units in pairs of opposite weights, so that a deep network starts as a linear one.

ReLU(z) - ReLU(-z) = z. If every unit has a mirror with the opposite weights, and the next layer reads
the two with opposite weights, then what passes on is the odd part of the activation, φ(z) - φ(-z), and
the rest cancels. For ReLU, leaky ReLU, GELU, SiLU, softplus and hard swish the odd part is a straight
line, so that with orthogonal weights the network is an isometry at any depth, forward and backward;
for ELU, SELU, Mish and sigmoid it is nearly one. The two units of a pair see different slopes, so that
training separates them from the first step.

Without mirrors, the lengths of random ReLU networks vary like exp(5 · Σ 1/width) (Hanin & Rolnick
2018), and under smooth activations gradients grow or shrink by a factor a layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isoinit._drawing.haar import haar
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, WholeInitializer
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.zero import at_centre

MIRRORS = ("both", "out", "in")


@dataclass(frozen=True)
class LooksLinear(WholeInitializer):
    """An orthogonal matrix of half the size, with its mirror image beside it and below.

    Use it for deep plain stacks, without norm layers or residual sums. Not where either stands
    between: they keep the signal alive by themselves. Of a convolution the centre tap alone is
    non-zero, as in `DeltaOrthogonal`.

    Args:
        gain: the gain of the odd part: E[(φ(z) - φ(-z))²]^(-1/2), 1 for ReLU, GELU and SiLU.
        mirror: "both" for a layer between mirrored layers, [[W, -W], [-W, W]]; "out" for the first,
            [W; -W], whose inputs have no mirror; "in" for the last, [W, -W], whose outputs need
            none.

    W is Haar, times sqrt(outputs/inputs) where it has more outputs than inputs.

    Source: Balduzzi et al. 2017, section 4; orthogonal W: Saxe et al. 2014; centre tap: Xiao et al.
    2018.

    Raises:
        ArgumentError: for an unknown mirror or a gain not above 0; if the layout has an odd number
            of outputs or inputs to mirror, or is a vector.

    Example:
        >>> from isoinit._drawing.streams import Stream
        >>> from isoinit.initializers.scale import fans
        >>> weight = LooksLinear().draw(Stream(0, "weight"), fans.linear((4, 4)))
        >>> bool((weight[:2] == -weight[2:]).all() and (weight[:, :2] == -weight[:, 2:]).all())
        True
    """

    gain: float = 1.0
    mirror: str = "both"
    _sizes: ClassVar[tuple[str, ...]] = ("gain",)
    centre_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)
        if self.mirror not in MIRRORS:
            raise ArgumentError(
                f"LooksLinear(mirror={self.mirror!r}): expected one of {', '.join(MIRRORS)}"
            )

    def halves(self, layout: Layout) -> tuple[int, int]:
        """The size of W: outputs and inputs, each halved where it is mirrored."""
        self._require_map(layout)
        _, n_out, n_in, _ = layout.maps_shape
        sides = {"both": (2, 2), "out": (2, 1), "in": (1, 2)}[self.mirror]
        if n_out % sides[0] or n_in % sides[1]:
            raise ArgumentError(
                f"{self} pairs each unit with its negative and needs an even number of units, "
                f"found {n_out} outputs and {n_in} inputs in shape {layout.shape}; use "
                "Orthogonal()"
            )
        return n_out // sides[0], n_in // sides[1]

    def std_for(self, layout: Layout) -> float:
        """The root mean square of the elements."""
        taps = layout.maps_shape[3]
        return self.gain_for(layout) / math.sqrt(max(self.halves(layout)) * taps)

    def largest_for(self, layout: Layout) -> float:
        """Return the length of W's vectors, which no element exceeds."""
        return self.gain_for(layout)

    def share_for(self, layout: Layout) -> float:
        """Return the share of the centre tap."""
        return 1 / layout.maps_shape[3]

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """One Haar matrix a map, and its mirror images."""
        n_out, n_in = self.halves(layout)
        maps = np.empty((layout.maps_shape[0], n_out, n_in))
        haar(maps, stream, self.gain_for(layout))
        if self.mirror != "in":
            maps = np.concatenate([maps, -maps], axis=1)
        if self.mirror != "out":
            maps = np.concatenate([maps, -maps], axis=2)
        return at_centre(maps, layout) if layout.taps else layout.from_maps(maps[..., None])

    def gain_for(self, layout: Layout) -> float:
        """The length of W's vectors: more outputs than inputs share it, which is put right."""
        n_out, n_in = self.halves(layout)
        return self.gain * math.sqrt(max(1.0, n_out / n_in))
