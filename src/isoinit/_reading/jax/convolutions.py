"""Convolutions, also grouped and transposed ones, with their axes in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from isoinit._reading import views
from isoinit._reading.graph import Detail
from isoinit._reading.jax.held import WEIGHTS, Held, Known, Parameter, Signal
from isoinit._reading.taps import Taps, along, transposed_along
from isoinit._reading.views import axes_along, grouped
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder


def convolved(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a convolution; it is recorded with units second, as torch has them."""
    signal, kernel = eqn.operands
    params, shape = eqn.params, eqn.shapes[0]
    numbers = params["dimension_numbers"]
    apart = any(int(d) > 1 for d in params["lhs_dilation"])
    name = f"conv_transpose{len(shape) - 2}d" if apart else f"conv{len(shape) - 2}d"
    if not isinstance(kernel, WEIGHTS):
        values = [recorder.number(h) for h in eqn.operands if not isinstance(h, Known)]
        return [Signal(recorder.add(name, "other", list(dict.fromkeys(values)), shape))]
    read = recorder.source(signal)
    first = [] if read is None else [recorder.turned(read, numbers.lhs_spec)]
    found = _taps(recorder, eqn, first)

    def layout(weight: Parameter) -> Layout:
        whole = kernel_layout(recorder.shapes.get(weight.name, weight.shape), weight, params, apart)
        if not found.few:
            return whole
        return replace(
            whole, fan_in=whole.fan_in * found.read, fan_out=whole.fan_out * found.reached
        )

    uses = recorder.uses(kernel, "weight", layout)
    detail = Detail(inside=1.0 if found.few else found.read)
    spec = [int(axis) for axis in numbers.out_spec]
    made = recorder.add(name, "map", first, [shape[axis] for axis in spec], uses, detail=detail)
    recorder.gives(made, recorder.maker[made], (1,))
    back = [spec.index(axis) for axis in range(len(spec))]
    turned = recorder.turned(made, back)
    recorder.gives(turned, recorder.maker[made], (spec[1],))
    return [Signal(turned)]


def _taps(recorder: Recorder, eqn: Equation, first: Sequence[int]) -> Taps:
    """Return the shares of a kernel that fall on the input."""
    params = eqn.params
    if not first:
        return Taps()
    numbers = params["dimension_numbers"]
    sizes = recorder.sizes[first[0]][2:]
    made = [eqn.shapes[0][int(axis)] for axis in numbers.out_spec[2:]]
    kernel = recorder.size(eqn.operands[1])
    read = reached = 1.0
    for axis, size in enumerate(sizes):
        before, after = (int(n) for n in params["padding"][axis])
        wide, apart = int(params["rhs_dilation"][axis]), int(params["lhs_dilation"][axis])
        count = kernel[int(numbers.rhs_spec[2 + axis])]
        if apart > 1:
            reach = wide * (count - 1)
            share = transposed_along(size, made[axis], apart, wide, count, reach - before)
        else:
            step = int(params["window_strides"][axis])
            share = along(size, step, wide, count, before, after)
        read, reached = read * share.read, reached * share.reached
    return Taps(read, reached)


def kernel_layout(shape: tuple[int, ...], kernel: Parameter, params: Any, apart: bool) -> Layout:
    """Return the layout of a kernel whose axes are in any order.

    Args:
        shape: the parameter's.
        kernel: the view of it that the convolution reads.
        params: the convolution's.
        apart: whether it is transposed: its input has zeros between its places.
    """
    groups = int(params["feature_group_count"])
    if not kernel.exact and len(shape) != len(kernel.shape):
        return fans.of_tensor(shape)
    steps = [abs(step) for step in kernel.view.strides]  # a kernel may be turned round
    spec = [int(axis) for axis in params["dimension_numbers"].rhs_spec]
    strides = [int(n) for n in params["lhs_dilation" if apart else "window_strides"]]
    out, in_, *taps = ((kernel.shape[axis], steps[axis]) for axis in spec)
    stack, out = grouped(out, groups)
    channels = {"stack": stack, "out": out, "in_": in_}
    found = views.kernel(shape, channels, taps, strides, transposed=apart)
    if found is not None:
        return found
    along_axes = axes_along(shape, kernel.shape, steps)
    axes = [along_axes[axis] for axis in spec]
    places = [axis[0] if axis else -1 for axis in axes]
    if -1 in places:  # an axis of one element has no stride of its own
        places = spec if len(kernel.shape) == len(shape) else places
        if kernel.shape != shape:  # rearranged: what is left goes in order
            free = [a for a in range(len(shape)) if a not in [x[0] for x in axes if x]]
            places = [axis[0] if axis else free.pop(0) for axis in axes]
    return _grid(shape, places, groups, strides, apart)


def _grid(
    shape: tuple[int, ...],
    places: Sequence[int],
    groups: int,
    strides: Sequence[int],
    apart: bool,
) -> Layout:
    """Return the layout of a kernel with these axes for outputs, inputs and taps."""
    out, in_, *taps = places
    grid: list[int] = []
    at: dict[int, int] = {}
    stack = 0
    for axis, size in enumerate(shape):
        if axis == out:
            stack = len(grid)
            grid.append(groups)
            size //= groups
        at[axis] = len(grid)
        grid.append(size)
    axes = {"stack": [stack], "out": [at[out]], "in_": [at[in_]], "taps": [at[t] for t in taps]}
    return fans.kernel(shape, grid, stride=strides, transposed=apart, **axes)
