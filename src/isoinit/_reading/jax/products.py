"""Products that sum over axes: of a signal with a weight, or of two signals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isoinit._reading.constants import MOST
from isoinit._reading.graph import Detail, ReplayError
from isoinit._reading.jax import constants
from isoinit._reading.jax.held import WEIGHTS, Held, Joined, Known, Parameter, Signal
from isoinit._reading.jax.played import Played, played

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder

ROUNDED = 1e-5


class Side(NamedTuple):
    """One side of a product: what it is, and the axes that are summed over, and shared."""

    held: Held
    summed: tuple[int, ...]
    shared: tuple[int, ...]


def product(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a product of two, which sums over axes of both."""
    (left_in, right_in), (left_with, right_with) = eqn.params["dimension_numbers"]
    left, right = (
        Side(held, tuple(map(int, in_)), tuple(map(int, with_)))
        for held, in_, with_ in zip(
            eqn.operands, (left_in, right_in), (left_with, right_with), strict=True
        )
    )
    for weight, signal, first in ((right, left, False), (left, right, True)):
        if isinstance(weight.held, WEIGHTS) and not isinstance(signal.held, WEIGHTS):
            return [Signal(_mapped(recorder, eqn.shapes[0], weight, signal, first=first))]
    if isinstance(left.held, Known) or isinstance(right.held, Known):
        return [_by_constant(recorder, eqn, left, right)]
    values = [recorder.number(side.held) for side in (left, right)]
    becomes = _becomes(left, right, [recorder.sizes[value] for value in values])
    plain = becomes[0][-2:] == (len(eqn.shapes[0]) - 2, None) and becomes[1][-2:] == (
        None,
        len(eqn.shapes[0]) - 1,
    )
    name, detail = "matmul" if plain else "einsum", Detail(becomes=becomes)
    return [Signal(recorder.add(name, "other", values, eqn.shapes[0], detail=detail))]


def _becomes(
    left: Side, right: Side, sizes: Sequence[Sequence[int]]
) -> tuple[tuple[int | None, ...], ...]:
    """Return what becomes of the axes of both sides: shared ones come first, then the free ones."""
    found: list[tuple[int | None, ...]] = []
    free = len(left.shared)
    for side, size in zip((left, right), sizes, strict=True):
        mine: list[int | None] = []
        for axis in range(len(size)):
            if axis in side.summed:
                mine.append(None)
            elif axis in side.shared:
                mine.append(side.shared.index(axis))
            else:
                mine.append(free)
                free += 1
        found.append(tuple(mine))
    return tuple(found)


def _mapped(
    recorder: Recorder, shape: tuple[int, ...], weight: Side, signal: Side, *, first: bool
) -> int:
    """Return what a weight makes of a signal, its own axes last as those of units are."""
    held = weight.held
    assert isinstance(held, WEIGHTS)
    free = [a for a in range(len(held.shape)) if a not in (*weight.summed, *weight.shared)]
    if isinstance(held, Joined):
        if held.axis in free:
            return _in_parts(recorder, shape, weight, signal, free, first=first)
        if held.axis in weight.summed:
            found = _summed_parts(recorder, shape, weight, signal, first=first)
            if found is not None:
                return found
    read = recorder.source(signal.held)
    values = [] if read is None else [read]
    if read is not None:
        _note_blocks(recorder, weight, read, signal)
    contraction = recorder.contraction(weight.summed, free)
    uses = recorder.uses(held, "weight", contraction)
    name = "einsum" if weight.shared else "matmul"
    shared, count = len(weight.shared), len(shape)
    behind = len(shape) - shared - len(free)
    size = recorder.size(signal.held) if read is None else recorder.sizes[read]
    becomes = _becomes(signal, weight, [size, held.shape])
    detail = Detail(becomes=becomes if values else ())
    if not first or not free or not behind:
        made = recorder.add(name, "map", values, shape, uses, detail=detail)
        recorder.gives(made, recorder.maker[made], range(count - len(free), count))
        return made
    # The weight stands first, so its axes come before those of the signal: they belong last.
    turned = (*range(shared), *range(shared + len(free), count), *range(shared, shared + len(free)))
    inner = recorder.add(name, "map", values, [shape[axis] for axis in turned], uses, detail=detail)
    recorder.gives(inner, recorder.maker[inner], range(count - len(free), count))
    back = [turned.index(axis) for axis in range(count)]
    axes = Detail(axes=tuple((axis,) for axis in back))
    made = recorder.add("permute", "move", [inner], shape, detail=axes)
    recorder.gives(made, recorder.maker[inner], range(shared, shared + len(free)))
    return made


def _note_blocks(recorder: Recorder, weight: Side, read: int, signal: Side) -> None:
    """Take down the blocks of a recurrent weight, which reads its input beside its own state."""
    held = weight.held
    if not isinstance(held, Parameter) or not held.exact or len(weight.summed) != 1:
        return
    along, parts = recorder.joined.get(read, (-1, ()))
    if (along,) != signal.summed or len(parts) < 2 or held.shape != recorder.shapes[held.name]:
        return
    if not any(recorder.came_of(part, held.name) for part in parts):
        return
    sizes = tuple(recorder.size(part)[along] for part in parts)
    recorder.splits[held.name] = weight.summed[0], sizes


def _in_parts(
    recorder: Recorder,
    shape: tuple[int, ...],
    weight: Side,
    signal: Side,
    free: Sequence[int],
    *,
    first: bool,
) -> int:
    """Return what weights side by side make of one signal: what each makes, side by side."""
    joined = weight.held
    assert isinstance(joined, Joined)
    place = free.index(joined.axis)
    shared = len(weight.shared)
    axis = shared + place if first else len(shape) - len(free) + place
    read = recorder.source(signal.held)
    found = []
    for part in joined.parts:
        its = (*shape[:axis], part.shape[joined.axis], *shape[axis + 1 :])
        side = signal if read is None else signal._replace(held=Signal(read))
        found.append(_mapped(recorder, its, weight._replace(held=part), side, first=first))
    made = recorder.add("cat", "other", found, shape, detail=Detail(dims=(axis,)))
    recorder.joined[made] = axis, tuple(Signal(number) for number in found)
    return made


def _summed_parts(
    recorder: Recorder, shape: tuple[int, ...], weight: Side, signal: Side, *, first: bool
) -> int | None:
    """Return the sum of what blocks make of the signals side by side, each of its own."""
    joined, read = weight.held, recorder.source(signal.held)
    assert isinstance(joined, Joined)
    axis = signal.summed[weight.summed.index(joined.axis)]
    along, parts = (-1, ()) if read is None else recorder.joined.get(read, (-1, ()))
    sizes = [part.shape[joined.axis] for part in joined.parts]
    if along != axis or [recorder.size(part)[axis] for part in parts] != sizes:
        return None
    total: int | None = None
    for part, held in zip(joined.parts, parts, strict=True):
        number = recorder.source(held)
        if number is None:  # zeros: a state that is none yet
            continue
        its = signal._replace(held=Signal(number))
        one = _mapped(recorder, shape, weight._replace(held=part), its, first=first)
        if total is None:
            total = one
        else:
            op, axes = recorder.out_axes[one]
            both = [total, one]
            plus = played("add", {}, [Signal(number) for number in both], both)
            total = recorder.add("add", "other", both, shape, played=plus)
            recorder.gives(total, op, sorted(axes))
    return total


def _by_constant(recorder: Recorder, eqn: Equation, left: Side, right: Side) -> Signal:
    """Return a product of a signal with a constant: an interpolation, or something not known."""
    signal, table = (left, right) if isinstance(right.held, Known) else (right, left)
    value = recorder.number(signal.held)
    assert isinstance(table.held, Known)
    if not signal.shared and _averages(table):
        size = recorder.sizes[value]
        free = [axis for axis in range(len(size)) if axis not in signal.summed]
        first = signal is left
        new = len(eqn.shapes[0]) - len(free)
        mine = [(axis,) for axis in free]
        axes = (*mine, *[signal.summed] * new) if first else (*[signal.summed] * new, *mine)
        detail = Detail(axes=axes)
        return Signal(recorder.add("interpolate", "move", [value], eqn.shapes[0], detail=detail))
    return Signal(recorder.add("matmul", "other", [value], eqn.shapes[0], played=_refused()))


def _refused() -> Played:
    return Played(why="sums over axes with a constant tensor")


def _averages(side: Side) -> bool:
    """Return whether a constant matrix takes means: its numbers are positive and sum to one."""
    assert isinstance(side.held, Known)
    if math.prod(side.held.shape) > MOST or not side.held.floats:
        return False
    try:
        found = constants.values(side.held).astype(np.float64)
    except ReplayError:  # the product is recorded as one that is not known
        return False
    sums = found.sum(side.summed)
    return bool((found >= -ROUNDED).all() and (np.abs(sums - 1) < 1e-3).all())
