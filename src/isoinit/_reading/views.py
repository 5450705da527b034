"""Views of a parameter: which of its axes the axes of a view run along, told by strides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

Axes = tuple[tuple[int, ...], ...]
Part = tuple[int, int]  # of what an axis counts: how many, and the step from one to the next


def axes_along(shape: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> Axes:
    """Return the axes of a contiguous tensor that each axis of a view of it runs along.

    An axis of the view may merge several axes, or parts of them.

    Args:
        shape: the tensor's.
        sizes: the shape of the view.
        steps: its strides, in elements.
    """
    strides = [math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape))]
    real = [axis for axis, size in enumerate(shape) if size > 1]
    found: list[tuple[int, ...]] = []
    for size, step in zip(sizes, steps, strict=True):
        covered = tuple(
            axis
            for axis in real
            if max(step, strides[axis]) < min(step * size, strides[axis] * shape[axis])
        )
        found.append(covered if size > 1 else ())
    return tuple(found)


def contracted(
    shape: tuple[int, ...],
    sizes: Sequence[int],
    steps: Sequence[int],
    axes: Sequence[tuple[int, ...]],
    in_: Sequence[int],
    out: Sequence[int],
) -> Layout:
    """Return the layout of a parameter, given what the axes of a view of it do.

    Args:
        shape: the parameter's.
        sizes: the view's.
        steps: the strides of the view, in elements.
        axes: the axes of the parameter that each axis of the view runs along.
        in_: the axes of the view that are summed over.
        out: those that appear in the result; the others number independent maps.
    """
    if (pulled := _pulled_apart(shape, sizes, steps, axes)) is not None:
        grid, places = pulled
        return fans.contraction(
            shape,
            in_=[places[i] for i in in_],
            out=[places[i] for i in out],
            stack=[places[i] for i in range(len(sizes)) if i not in (*in_, *out)],
            grid=grid,
        )
    ins = sorted({axis for i in in_ for axis in axes[i]})
    outs = sorted({axis for i in out for axis in axes[i]} - set(ins))
    if len(shape) == len(sizes) == 2 and tuple(axes) == ((0,), (1,)) and sizes[0] < shape[0]:
        blocks = shape[0] // sizes[0]  # a part of the rows: one of several packed matrices
        return fans.linear(shape, blocks if shape[0] % sizes[0] == 0 else 1)
    stack = [axis for axis in range(len(shape)) if axis not in (*ins, *outs)]
    return fans.contraction(shape, in_=ins, out=outs, stack=stack)


def _pulled_apart(
    shape: tuple[int, ...],
    sizes: Sequence[int],
    steps: Sequence[int],
    axes: Sequence[tuple[int, ...]],
) -> tuple[tuple[int, ...], list[int]] | None:
    """Return the grid of a parameter one of whose axes becomes several axes of a view of it.

    With it, the axis of the grid that each axis of the view is. None where each axis of the view is
    one of the parameter, or the view has another number of elements.
    """
    single = [axis[0] for axis in axes if len(axis) == 1]
    if len(single) < len(sizes) or len(set(single)) == len(single):
        return None
    order = sorted(range(len(sizes)), key=lambda at: (single[at], -steps[at]))
    grid = tuple(sizes[at] for at in order)
    if math.prod(grid) != math.prod(shape):
        return None
    return grid, [order.index(at) for at in range(len(sizes))]


def grouped(part: Part, groups: int) -> tuple[Part, Part]:
    """Return an axis of channels as two: the groups, and the channels of each."""
    count, step = part
    within = count // groups
    return (groups, step * within), (within, step)


def kernel(
    shape: tuple[int, ...],
    channels: Mapping[str, Part],
    taps: Sequence[Part],
    stride: int | Sequence[int],
    *,
    transposed: bool,
) -> Layout | None:
    """Return the layout of a parameter that a convolution takes as a view of it.

    A view may be one of several blocks along the outputs, such as a gate's. None where it is another
    part of the parameter, or has an element twice.

    Args:
        shape: the parameter's, with its axes in any order.
        channels: "stack", "out" and "in_": the groups, and the channels of one group.
        taps: along each axis of the images.
        stride: that of the convolution.
        transposed: whether it is transposed.
    """
    names = list(channels)
    parts = [*channels.values(), *taps]
    count, (n_out, step) = math.prod(n for n, _ in parts), channels["out"]
    blocks = math.prod(shape) // max(count, 1)
    if blocks > 1 and channels["stack"][0] == 1:
        parts[names.index("stack")] = blocks, step * n_out
    several = [at for at, (size, _) in enumerate(parts) if size > 1]
    long = sorted(several, key=lambda at: -parts[at][1])
    ends = [math.prod(shape), *(parts[at][1] for at in long)]
    sizes = [parts[at][0] for at in long]
    if ends[-1] != 1 or any(a != b * n for (a, b), n in zip(pairwise(ends), sizes, strict=True)):
        return None
    # Axes of one element have no place of their own: a single group goes first, as torch has it.
    single = [at for at in range(len(parts)) if at not in long]
    first = [at for at in single if at < len(names) and names[at] == "stack"]
    order = [*first, *long, *(at for at in single if at not in first)]
    axes = {name: (order.index(at),) for at, name in enumerate(names)}
    found = [order.index(at) for at in range(len(names), len(parts))]
    grid = [parts[at][0] for at in order]
    return fans.kernel(shape, grid, taps=found, stride=stride, transposed=transposed, **axes)
