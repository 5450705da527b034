"""Units of a weight that are the same: by their weights, and by what training will do to them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from isoinit._reading.torch.numbers import in_reals
from isoinit._verifying.health.steps import BITS, ROUNDING
from isoinit.initializers.scale.fans import Layout


def maps(values: torch.Tensor, layout: Layout) -> Iterator[torch.Tensor]:
    """The matrices (units, inputs) that a weight holds: its gates, its groups, or the one."""
    order = layout.stack + layout.out + layout.in_ + layout.taps
    stack, out, _, _ = layout.maps_shape
    yield from values.reshape(layout.grid).permute(order).reshape(stack, out, -1)


def all_identical(values: torch.Tensor, layout: Layout) -> bool:
    """Whether all units of a weight are the same: then they stay so."""
    if (
        not values.numel()
        or not layout.out
        or math.prod(layout.grid[axis] for axis in layout.out) < 2
    ):
        return False
    axes = tuple(range(len(layout.out)))
    units = values.reshape(layout.grid).movedim(layout.out, axes).flatten(0, len(axes) - 1)
    return torch.equal(units[0], units[-1]) and bool((units == units[:1]).all())


def share_of_twins(values: torch.Tensor, layout: Layout) -> float:
    """The share of units, in any of the matrices of a weight, whose weights another unit has too."""
    stack, out, in_, taps = layout.maps_shape
    digits = 1 - math.log2(torch.finfo(values.dtype).eps)
    if out < 2 or in_ * taps * digits < BITS:
        return 0.0
    twins = 0
    for matrix in maps(values, layout):
        matrix = in_reals(matrix)  # of complex numbers a row of as many more
        some = matrix.float()
        mixed = some @ _spaced(some)
        order = mixed.argsort()
        ordered = mixed[order]
        near = (ordered.diff().abs() <= 1e-5 * ordered.abs().amax()).nonzero().flatten()
        same = (matrix[order[near]] == matrix[order[near + 1]]).all(1)
        paired = torch.zeros(out, dtype=torch.bool, device=matrix.device)
        paired[near[same]] = True
        paired[near[same] + 1] = True
        twins += int(paired.sum().item())
    return twins / (stack * out)


def agreeing(values: torch.Tensor, gradient: torch.Tensor, layout: Layout) -> float:
    """The shares of units that another unit equals, in its weights and in its gradient.

    Args:
        values: the weight.
        gradient: the loss's gradient by it.
        layout: of the weight.
    """
    same = total = 0
    tolerance = max(ROUNDING, 8 * torch.finfo(gradient.dtype).eps)
    pairs = zip(maps(values, layout), maps(gradient, layout), strict=True)
    for weights, slopes in ((in_reals(a), in_reals(b).float()) for a, b in pairs):
        total += len(weights)
        _, group = torch.unique(weights, dim=0, return_inverse=True)
        sizes = torch.linalg.vector_norm(slopes, dim=1)
        mixed = slopes @ _spaced(slopes)
        order = mixed.argsort(stable=True)
        order = order[group[order].argsort(stable=True)]
        first, second = order[:-1], order[1:]
        apart = torch.linalg.vector_norm(slopes[first] - slopes[second], dim=1)
        close = apart <= tolerance * torch.maximum(sizes[first], sizes[second])
        close &= group[first] == group[second]
        paired = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
        paired[first[close]] = True
        paired[second[close]] = True
        same += int(paired.sum())
    return same / max(total, 1)


def _spaced(rows: torch.Tensor) -> torch.Tensor:
    """A number for each column, by which rows that differ are distinguished."""
    return torch.linspace(1, 2, rows.shape[1], dtype=rows.dtype, device=rows.device).sin()
