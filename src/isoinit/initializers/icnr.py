"""ICNR: kernels before a pixel shuffle start equal, so that upsampling starts as nearest neighbour.

A convolution makes r² channels for each one of its result, and `pixel_shuffle` places them in r×r
pixels. Drawn independently, neighbouring pixels differ from the start, as a checkerboard that
training has to take away again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, Initializer, WholeInitializer
from isoinit.initializers.he import HeNormal
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.zero import Constant


@dataclass(frozen=True)
class ICNR(WholeInitializer):
    """Draws of `base`, each repeated for the `pixels` channels that become one channel's pixels.

    Use it for the convolution right before `torch.nn.PixelShuffle(r)`, with `pixels=r*r`. Not before
    other ways of upsampling.

    Source: Aitken et al. 2017.

    Raises:
        ArgumentError: unless `pixels` is an integer above 0 and `base` an initializer that draws
            each weight by itself; if the layout's outputs are no multiple of `pixels`.
    """

    pixels: int
    base: Initializer = field(default_factory=HeNormal)

    def __post_init__(self) -> None:
        self._require("pixels", low=1, whole=True)
        if not isinstance(self.base, Initializer) or isinstance(self.base, Constant | ICNR):
            raise ArgumentError(
                f"ICNR(base={self.base!r}): expected an initializer that draws weights, such as "
                "HeNormal()"
            )

    def scaled(self, factor: float) -> ICNR:
        """With a scaled `base`."""
        return replace(self, base=self.base.scaled(factor))

    def std_for(self, layout: Layout) -> float:
        """That of `base`."""
        stack, n_out, _, _ = layout.maps_shape
        if stack != 1 or n_out % self.pixels:
            raise ArgumentError(
                f"{self} needs a number of outputs that is divisible by {self.pixels}, found "
                f"shape {layout.shape}"
            )
        return self.base.std_for(layout)

    def largest_for(self, layout: Layout) -> float:
        """Return that of `base`."""
        return self.base.largest_for(layout)

    def share_for(self, layout: Layout) -> float:
        """Return that of `base`."""
        return self.base.share_for(layout)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The first kernel of each group of a draw of `base`, for the whole group."""
        whole = np.empty(int(np.prod(layout.shape)))
        self.base.fill(whole, stream, layout)
        maps = layout.to_maps(whole.reshape(layout.shape))
        return layout.from_maps(np.repeat(maps[:, :: self.pixels], self.pixels, axis=1))
