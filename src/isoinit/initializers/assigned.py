"""Assigned: parameters that follow from a weight, by the `right_inverse` of a parametrization.

`torch.nn.utils.parametrize` computes a weight from parameters; `right_inverse` is its way back. What
multiplies the signal is the weight, so the plan draws the weight, and its module says what the
parameters are then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoinit._drawing.streams import Stream
from isoinit._drawing.streams.philox import Law
from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, Initializer
from isoinit.initializers.norms import Directions
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Assigned(Initializer):
    """What `right_inverse` gives for a weight that `base` draws.

    A plan makes it where a module computes a weight from parameters. Only the module knows its
    `right_inverse`, so `Plan.apply` and `write_checkpoint` fill such a parameter, which have the
    model. Where the parameter may hold the weight itself (`direct`), anything can.

    Args:
        base: the initializer of the weight.
        of: the name of the parameter under whose name the weight is drawn.
        layout: what the weight's axes mean.
        part: which of the tensors that `right_inverse` returns; None where it returns one.
        direct: whether the parameter holds the weight itself.
        scale: what the draw of `base` is multiplied by before it is assigned, to come out with the
            standard deviation of `base`.
        size: the weight's standard deviation, where the parametrization prescribes it.

    Raises:
        ArgumentError: on filling without the module, unless `direct`.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(8, 8))
        >>> plan = isoinit.plan(model, torch.zeros(1, 8))
        >>> print(plan["parametrizations.weight.original"].initializer)
        Assigned(Orthogonal())
        >>> weight = plan.apply(model, seed=0).weight
        >>> torch.allclose(weight @ weight.T, torch.eye(8), atol=1e-5)
        True
    """

    base: Initializer
    of: str
    layout: Layout
    part: int | None = None
    direct: bool = False
    scale: float = 1.0
    size: float | None = None

    def __post_init__(self) -> None:
        self._require_base()
        self._require("scale", low=0, above=True)

    @property
    def drawn(self) -> Initializer:
        """The initializer that the assigned weight is drawn with."""
        return self.base if self.scale == 1 else self.base.scaled(self.scale)

    @property
    def is_constant(self) -> bool:
        """Whether every unit computes the same: that of `base`."""
        return self.base.is_constant

    @property
    def mirror(self) -> Any:
        """That of `base`, where its units are mirrored."""
        return getattr(self.base, "mirror", "")

    def std_for(self, layout: Layout) -> float:
        """The standard deviation of the weight that comes out, whatever the parameter's."""
        std = self.drawn.std_for(self.layout)  # refuses a layout that does not fit
        return std / self.scale if self.size is None else self.size

    def mean_for(self, layout: Layout) -> float:
        """The mean of the weight that comes out."""
        return self.base.mean_for(self.layout)

    def largest_for(self, layout: Layout) -> float:
        """Return that of the weight that is assigned."""
        return self.drawn.largest_for(self.layout)

    def share_for(self, layout: Layout) -> float:
        """Return that of `base`."""
        return self.base.share_for(self.layout)

    def scaled(self, factor: float) -> Initializer:
        """With a scaled `base`, unless the size is prescribed."""
        if self.size is not None:
            raise ArgumentError(
                f"{self}.scaled({factor!r}): the parametrization fixes the scale of its weight, "
                "so a factor has no effect"
            )
        return replace(self, base=self.base.scaled(factor))

    def require_fit(self, layout: Layout, dtype: np.dtype[Any]) -> None:
        """Raise unless a weight of this type can hold what `base` draws; the rest is the module's."""
        self.drawn.require_fit(self.layout, dtype)

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law | None:
        """That of `base`, where the parameter holds the weight itself."""
        self._require_direct()
        return self.drawn.law(layout, dtype)

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw from `base`, where the parameter holds the weight itself."""
        self._require_direct()
        self.drawn.fill(out, stream, layout, start)

    def _require_direct(self) -> None:
        if not self.direct:
            raise ArgumentError(
                f"{self} needs the right_inverse of a module, and only the model has it. Use "
                "Plan.apply or write_checkpoint, or give another initializer"
            )

    def __str__(self) -> str:
        return f"Assigned({self.base})"


def bare(initializer: Initializer) -> Initializer:
    """Return the initializer of the weight that an initializer's parameter is made for."""
    return initializer.base if isinstance(initializer, Assigned | Directions) else initializer
