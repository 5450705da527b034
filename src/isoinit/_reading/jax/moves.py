"""Rearrangements: each output is an input, a part of one, or several side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from isoinit._reading.graph import Detail, Times
from isoinit._reading.jax import constants
from isoinit._reading.jax.held import WEIGHTS, Held, Known, Signal
from isoinit._reading.jax.names import torch_name
from isoinit._reading.jax.played import Played
from isoinit._reading.jax.views import axes_of

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder

MOVED = {
    "broadcast_in_dim": "expand",
    "expand_dims": "unsqueeze",
    "rev": "flip",
}


def rearranged(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a rearrangement of one signal; dropped axes that come back are no rearrangement."""
    held = eqn.operands[0]
    shape = eqn.shapes[0]
    if isinstance(held, Signal) and held.dropped and (back := _restored(recorder, eqn, held)):
        return [back]
    value = recorder.number(held)
    if eqn.name == "transpose":
        return [Signal(recorder.turned(value, eqn.params["permutation"]))]
    before = recorder.sizes[value]
    if eqn.name in ("reshape", "squeeze", "broadcast_in_dim", "expand_dims") and before == shape:
        return [Signal(value)]
    axes = axes_of(eqn, before)
    name = MOVED.get(eqn.name, eqn.name)
    dims = tuple(map(int, eqn.params["dimensions"])) if eqn.name == "rev" else ()
    number = recorder.add(name, "move", [value], shape, detail=Detail(axes=axes, dims=dims))
    _keep_units(recorder, value, number, axes)
    return [Signal(number)]


def _keep_units(
    recorder: Recorder, value: int, number: int, axes: Sequence[Sequence[int]] | None
) -> None:
    """Take down where the units of a layer lie after a rearrangement that keeps all of them apart."""
    if value not in recorder.out_axes or axes is None:
        return
    op, units = recorder.out_axes[value]
    along = [new for new, old in enumerate(axes) if old and set(old) <= units]
    if {axis for new in along for axis in axes[new]} == units:
        recorder.gives(number, op, along)


def _restored(recorder: Recorder, eqn: Equation, held: Signal) -> Held | None:
    """Return a reduced signal whose dropped axes come back; None where something else happens."""
    size, shape = recorder.sizes[held.number], eqn.shapes[0]
    left = [axis for axis in range(len(size)) if axis not in held.dropped]
    if eqn.name == "broadcast_in_dim":
        dims = [int(axis) for axis in eqn.params["broadcast_dimensions"]]
        if len(shape) != len(size) or dims != left:
            return None
        if shape == size:
            return Signal(held.number)
        axes = tuple((axis,) for axis in range(len(shape)))
        made = recorder.add("expand", "move", [held.number], shape, detail=Detail(axes=axes))
        return Signal(made)
    if eqn.name in ("reshape", "expand_dims") and shape == size:
        return Signal(held.number)
    return None


def part(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a part of a signal, by places that are constants; a part of what was joined is that one."""
    held = eqn.operands[0]
    if not isinstance(held, Signal):
        return rearranged(recorder, eqn)
    value = recorder.number(held)
    before, shape = recorder.sizes[value], eqn.shapes[0]
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    cut = [axis for axis, n in enumerate(before) if shape[axis] != n]
    if len(cut) == 1 and not eqn.params["strides"]:
        found = _of_joined(recorder, value, cut[0], int(starts[cut[0]]), int(ends[cut[0]]))
        if found is not None:
            return [found]
    if cut == [0] and shape[0] == 1 and value in recorder.stacks:
        return [_as_row(recorder, recorder.stacks[value][int(starts[0])])]
    return [Signal(_narrowed(recorder, value, shape))]


def _as_row(recorder: Recorder, held: Signal) -> Signal:
    """Return one of several behind each other as what a part of length one is."""
    value = recorder.number(held)
    size = recorder.sizes[value]
    axes = Detail(axes=((), *((axis,) for axis in range(len(size)))))
    return Signal(recorder.add("unsqueeze", "move", [value], (1, *size), detail=axes))


def _narrowed(recorder: Recorder, value: int, shape: Sequence[int]) -> int:
    if recorder.sizes[value] == tuple(shape):
        return value
    axes = Detail(axes=tuple((axis,) for axis in range(len(shape))))
    return recorder.add("narrow", "move", [value], shape, detail=axes)


def _of_joined(recorder: Recorder, value: int, axis: int, first: int, last: int) -> Held | None:
    """Return the one of several side by side that a part is; None where it is no whole one."""
    along, parts = recorder.joined.get(value, (-1, ()))
    if along != axis:
        return None
    begin = 0
    for held in parts:
        end = begin + recorder.size(held)[axis]
        if (begin, end) == (first, last):
            return held
        begin = end
    return None


def split(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a signal in parts."""
    value, axis = recorder.number(eqn.operands[0]), int(eqn.params["axis"])
    ends = np.cumsum([0, *[int(size) for size in eqn.params["sizes"]]]).tolist()
    parts = [_of_joined(recorder, value, axis, first, last) for first, last in pairwise(ends)]
    if all(one is not None for one in parts):
        return [one for one in parts if one is not None]
    axes = Detail(axes=tuple((axis,) for axis in range(len(eqn.shapes[0]))), dims=(axis,))
    return [Signal(n) for n in recorder.several("split", "move", [value], eqn.shapes, detail=axes)]


def side_by_side(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a concatenation: parameters in it stand beside the signal."""
    weights = [held for held in eqn.operands if isinstance(held, WEIGHTS)]
    uses = [use for weight in weights for use in recorder.uses(weight, "token")]
    values: list[int] = []
    parts: list[Held] = []
    for held in eqn.operands:
        source = None if isinstance(held, WEIGHTS) else recorder.source(held)
        values += [] if source is None else [source]
        parts.append(held if source is None else Signal(source))
    axis = int(eqn.params["dimension"])
    made = recorder.add("cat", "other", values, eqn.shapes[0], uses, detail=Detail(dims=(axis,)))
    if not weights:
        recorder.joined[made] = axis, tuple(parts)
    return [Signal(made)]


def stacked(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a stack along a new axis: parameters in it stand beside the signal."""
    weights = [held for held in eqn.operands if isinstance(held, WEIGHTS)]
    uses = [use for weight in weights for use in recorder.uses(weight, "token")]
    others = [held for held in eqn.operands if not isinstance(held, WEIGHTS)]
    values = [source for held in others if (source := recorder.source(held)) is not None]
    dims = Detail(dims=(int(eqn.params["axis"]),))
    return [Signal(recorder.add("stack", "other", values, eqn.shapes[0], uses, detail=dims))]


def unstacked(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a signal as one for each place of an axis."""
    value, axis = recorder.number(eqn.operands[0]), int(eqn.params["axis"])
    rank = len(recorder.sizes[value])
    axes = Detail(axes=tuple((a,) for a in range(rank) if a != axis))
    return [Signal(n) for n in recorder.several("unbind", "move", [value], eqn.shapes, detail=axes)]


def padded(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read padding, of which the share that is the input's is known where it pads with zeros."""
    value = recorder.number(eqn.operands[0])
    before, shape = recorder.sizes[value], eqn.shapes[0]
    fill = eqn.operands[1]
    zero = isinstance(fill, Known) and constants.one_number(fill) == 0.0
    inside = min(math.prod(before) / max(math.prod(shape), 1), 1.0) if zero else 1.0
    detail = Detail(axes=tuple((axis,) for axis in range(len(shape))), inside=inside)
    return [Signal(recorder.add("pad", "move", [value], shape, detail=detail))]


def pooled(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read the largest, or the sum, of the places in a window."""
    value, shape = recorder.number(eqn.operands[0]), eqn.shapes[0]
    window = math.prod(int(size) for size in eqn.params["window_dimensions"])
    axes = tuple((axis,) for axis in range(len(shape)))
    kind = "max" if eqn.name == "reduce_window_max" else "avg"
    name = f"{kind}_pool{max(len(shape) - 2, 1)}d"
    detail = Detail(axes=axes, window=window)
    made = recorder.add(name, "move", [value], shape, detail=detail)
    if kind == "max":
        return [Signal(made)]
    total = Times(float(window))
    how = Played(total, total.pull)
    back = Detail(window=window)
    return [Signal(recorder.add("mul", "other", [made], shape, played=how, detail=back))]


def picked(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read parts of a signal at places that are computed; its axes keep their order."""
    source = eqn.operands[0]
    if isinstance(source, WEIGHTS):
        raise AssertionError("a part of a parameter is a view of it")
    if isinstance(source, Known):
        return taken(recorder, eqn)
    value, shape = recorder.number(source), eqn.shapes[0]
    same = len(shape) == len(recorder.sizes[value])
    axes = tuple((axis,) for axis in range(len(shape))) if same else None
    dynamic = eqn.name == "dynamic_slice"
    dims = () if dynamic else _looked_up_along(eqn, recorder.sizes[value])
    name, detail = "narrow" if dynamic else "getitem", Detail(axes=axes, dims=dims)
    return [Signal(recorder.add(name, "move", [value], shape, detail=detail))]


def _looked_up_along(eqn: Equation, size: Sequence[int]) -> tuple[int, ...]:
    """Return the axes along which rows are looked up in another order; () if some are left out."""
    sizes = eqn.params["slice_sizes"] if eqn.shapes[0] == tuple(size) else size
    return tuple(axis for axis, n in enumerate(size) if n > 1 and sizes[axis] == 1)


def taken(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read rows of a constant table, chosen by the signal."""
    table, index = eqn.operands[:2]
    assert isinstance(table, Known)
    values = [recorder.number(index)] if isinstance(index, Signal) else []
    detail = Detail(constant=constants.moments(table), alike=constants.alike(table))
    return [Signal(recorder.add("getitem", "other", values, eqn.shapes[0], detail=detail))]


def written(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a signal of which a part is overwritten, or added to; where, is no part of the signal."""
    target, *others = eqn.operands
    update = others[0] if eqn.name == "dynamic_update_slice" else others[1]
    read = [held for held in (target, update) if not isinstance(held, (*WEIGHTS, Known))]
    values = list(dict.fromkeys(recorder.number(held) for held in read))
    weights = [held for held in (target, update) if isinstance(held, WEIGHTS)]
    uses = [use for weight in weights for use in recorder.uses(weight, "token")]
    plain = eqn.name in ("dynamic_update_slice", "scatter") and len(values) == 2
    name = "written" if plain else torch_name(eqn.name)
    return [Signal(recorder.add(name, "other", values, eqn.shapes[0], uses))]
