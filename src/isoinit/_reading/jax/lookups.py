"""Tables, of which rows are read, and parameters of which parts are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from numpy.lib.stride_tricks import as_strided

from isoinit._reading.graph import Detail
from isoinit._reading.jax import constants, moves, parameters
from isoinit._reading.jax.held import (
    WEIGHTS,
    Held,
    Joined,
    Known,
    Parameter,
    Signal,
    viewed,
)
from isoinit._reading.jax.views import viewed_by
from isoinit.initializers.scale import fans

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder


def gathered(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read entries at places that are computed: rows of a table, or matrices of a stack."""
    source, index = eqn.operands
    if not isinstance(source, WEIGHTS):
        return moves.picked(recorder, eqn)
    numbers = eqn.params["dimension_numbers"]
    sizes = tuple(int(size) for size in eqn.params["slice_sizes"])
    where = [int(axis) for axis in numbers.start_index_map]
    rows = 0 in where and sizes[:1] == (1,) and sizes[1:] == tuple(source.shape[1:])
    if isinstance(source, Parameter) and rows and not numbers.operand_batching_dims:
        whole = source.shape == recorder.shapes[source.name]
        if len(source.shape) == 2 and source.exact and whole:
            return [_looked_up(recorder, eqn, source, index, where.index(0))]
        if len(where) == 1 and tuple(numbers.collapsed_slice_dims) == (0,):
            return [_chosen(eqn, source)]
    if isinstance(source, Joined):
        values = [recorder.number(index)] if isinstance(index, Signal) else []
        uses = recorder.uses(source, "token")
        return [Signal(recorder.add("getitem", "lookup", values, eqn.shapes[0], uses))]
    return (
        [parameters.composed(eqn, [source])]
        if isinstance(index, Known)
        else [_token(recorder, eqn)]
    )


def _looked_up(
    recorder: Recorder, eqn: Equation, table: Parameter, index: Held, place: int
) -> Held:
    """Return rows of a table.

    Args:
        recorder: what operations are recorded in.
        eqn: the equation.
        table: the table.
        index: which rows.
        place: which number of each index counts rows; the others find the whole of another axis.
    """
    number = index.number if isinstance(index, Signal) else -1
    along, parts = recorder.joined.get(number, (-1, ()))
    if along == len(recorder.size(index)) - 1 and len(parts) > place:
        index = parts[place]
    rows = [_index(recorder, index)] if isinstance(index, Signal) else []
    # Indices that do not come from the example count places: 0, 1, 2, ...
    slot = "table" if rows else "position"
    detail = Detail()
    if isinstance(index, Known):
        detail = Detail(constant=constants.moments(index))
    uses = recorder.uses(table, slot, lambda weight: fans.embedding(recorder.shapes[weight.name]))
    return Signal(recorder.add("embedding", "lookup", rows, eqn.shapes[0], uses, detail=detail))


def _index(recorder: Recorder, index: Signal) -> int:
    """Return the number of an index without the axis that JAX gives it."""
    made = recorder.maker.get(index.number)
    if made is not None and made.name in ("expand", "unsqueeze", "reshape") and made.kind == "move":
        before = recorder.sizes[made.inputs[0]]
        if recorder.sizes[index.number] == (*before, 1):
            return made.inputs[0]
    return recorder.number(index)


def _chosen(eqn: Equation, stack: Parameter) -> Held:
    """Return matrices of a stack, one for each place of an index: still a weight."""
    shape = eqn.shapes[0]
    offset = [int(axis) for axis in eqn.params["dimension_numbers"].offset_dims]
    steps = [0] * len(shape)
    for axis, step in zip(offset, stack.view.strides[1:], strict=True):
        steps[axis] = step
    view = as_strided(stack.view, shape, steps, writeable=False)
    return viewed(stack, view)


def _token(recorder: Recorder, eqn: Equation) -> Held:
    values = [recorder.number(held) for held in eqn.operands if isinstance(held, Signal)]
    uses = [u for h in eqn.operands if isinstance(h, WEIGHTS) for u in recorder.uses(h, "token")]
    return Signal(recorder.add("getitem", "lookup", values, eqn.shapes[0], uses))


def sliced(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read a part that begins at a place that is computed: of a parameter, any part of that size."""
    source, *starts = eqn.operands
    sizes = tuple(int(size) for size in eqn.params["slice_sizes"])
    if not isinstance(source, WEIGHTS):
        return moves.picked(recorder, eqn)
    first = []
    for held, size, whole in zip(starts, sizes, source.shape, strict=True):
        number = constants.one_number(held) if isinstance(held, Known) else 0.0
        first.append(min(max(int(number or 0), 0), whole - size))
    if isinstance(source, Parameter):
        view = source.view[tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))]
        return [viewed(source, view)]
    if isinstance(source, Joined):
        bounds = {
            "start_indices": first,
            "strides": None,
            "limit_indices": [a + n for a, n in zip(first, sizes, strict=True)],
        }
        found = viewed_by(replace(eqn, name="slice", params=bounds), source)
        if found is not None:
            return list(found)
    return [_token(recorder, eqn)]
