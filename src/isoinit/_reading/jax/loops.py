"""Loops and branches: a scan is walked step by step, as the loop that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from isoinit._reading.graph import Detail
from isoinit._reading.jax import constants
from isoinit._reading.jax.equation import scan_counts
from isoinit._reading.jax.held import (
    WEIGHTS,
    Branch,
    Held,
    Joined,
    Known,
    Parameter,
    Signal,
    Steps,
    Visit,
    viewed,
)

if TYPE_CHECKING:
    from isoinit._reading.jax.recorder import Recorder


class Walk(Protocol):
    """What a loop needs of the walk: see `walk.Walk`."""

    recorder: Recorder
    visits: list[Visit]

    def closed(self, closed: Any, args: Sequence[Held]) -> list[Held]:
        """Walk through a closed jaxpr; return what its outputs hold."""
        ...


MOST = 32  # steps over time that are walked: what a longer loop does, it does in these
DEEP = 512  # layers


def walked(walk: Walk, eqn: Any, operands: list[Held]) -> list[Held]:
    """Return what a loop or a branch makes of what it reads."""
    return {"scan": _scan, "while": _while, "cond": _cond}[eqn.primitive.name](walk, eqn, operands)


def _cond(walk: Walk, eqn: Any, operands: list[Held]) -> list[Held]:
    """Return what the branch makes that is taken; of several that may be, the longest."""
    which, *inner = operands
    branches = eqn.params["branches"]
    chosen = constants.one_number(which) if isinstance(which, Known) else None
    if chosen is not None:
        taken = int(np.clip(chosen, 0, len(branches) - 1))
    else:
        walk.recorder.note("cond", "the branch with most equations was read; the other one was not")
        taken = max(range(len(branches)), key=lambda i: len(branches[i].jaxpr.eqns))
    walk.visits.append(Branch(taken, chosen is not None))
    return walk.closed(branches[taken], inner)


def _while(walk: Walk, eqn: Any, operands: list[Held]) -> list[Held]:
    """Return what a loop of unknown length makes: its body is walked once where it reads a signal."""
    inner = operands[eqn.params["cond_nconsts"] :]
    body = eqn.params["body_jaxpr"]
    known = [held for held in operands if isinstance(held, Known)]
    if len(known) == len(operands):
        outs = _computed(eqn, known)
        walk.visits.append(outs)
        return outs
    walk.recorder.note("while", "its body was read once; how often it runs is not known")
    before = len(walk.visits)
    outs = walk.closed(body, inner)
    del walk.visits[before:]  # it is evaluated as a whole
    walk.visits.append(outs)
    return outs


def _computed(eqn: Any, operands: Sequence[Known]) -> list[Held]:
    name, params, bind = eqn.primitive.name, eqn.params, eqn.primitive.bind
    kinds = [(tuple(v.aval.shape), v.aval.dtype) for v in eqn.outvars]
    return [
        constants.computed(name, params, operands, shape, dtype, bind, place)
        for place, (shape, dtype) in enumerate(kinds)
    ]


def _scan(walk: Walk, eqn: Any, operands: list[Held]) -> list[Held]:
    """Return what a scan makes: carries, and what each step gives, stacked."""
    params = eqn.params
    known = [held for held in operands if isinstance(held, Known)]
    if len(known) == len(operands):
        outs = _computed(eqn, known)
        walk.visits.append(outs)
        return outs
    (fixed, carried), length = scan_counts(eqn), int(params["length"])
    consts, carry, each = (
        operands[:fixed],
        operands[fixed : fixed + carried],
        operands[fixed + carried :],
    )
    layers = any(isinstance(held, WEIGHTS) for held in each)
    steps = min(length, DEEP if layers else MOST)
    for held in each:
        whole = isinstance(held, Parameter) and held.shape == walk.recorder.shapes[held.name]
        if isinstance(held, Parameter) and whole and held.exact and length > 1:
            walk.recorder.splits[held.name] = 0, (1,) * length
    walk.visits.append(Steps(steps))
    given: list[list[Held]] = []
    for step in range(steps):
        at = length - 1 - step if params["reverse"] else step
        row = [_row(walk, held, at) for held in each]
        outs = walk.closed(params["jaxpr"], [*consts, *carry, *row])
        carry = outs[:carried]
        given.append(outs[carried:])
    kinds = [(tuple(v.aval.shape), v.aval.dtype) for v in eqn.outvars[carried:]]
    if params["reverse"]:
        given.reverse()
    stacked = [
        _stacked(walk, [outs[i] for outs in given], shape, dtype)
        for i, (shape, dtype) in enumerate(kinds)
    ]
    return [*carry, *stacked]


def _row(walk: Walk, held: Held, at: int) -> Held:
    """Return what a step reads of something that a scan goes through."""
    recorder = walk.recorder
    if isinstance(held, Parameter):
        return viewed(held, held.view[at])
    if isinstance(held, Joined) and held.axis == 0 and all(p.shape[0] == 1 for p in held.parts):
        part = held.parts[at]
        return viewed(part, part.view[0])
    if isinstance(held, Known):
        return _row_of(held, at)
    if isinstance(held, WEIGHTS):
        raise AssertionError("what a loop goes through is a parameter, a signal or a constant")
    value = recorder.number(held)
    if value in recorder.stacks:
        return recorder.stacks[value][at]
    shape = recorder.sizes[value][1:]
    axes = Detail(axes=tuple((axis + 1,) for axis in range(len(shape))))
    return Signal(recorder.add("select", "move", [value], shape, detail=axes))


def _row_of(known: Known, at: int) -> Known:
    make: Callable[[], Any] = lambda: constants.values(known)[at]  # noqa: E731
    return Known(make, known.shape[1:], known.floats, known.wave, known.ordered, known.drawn)


def _stacked(walk: Walk, rows: Sequence[Held], shape: tuple[int, ...], dtype: Any) -> Held:
    """Return what the steps of a scan gave, one behind the other."""
    if all(isinstance(row, Known) for row in rows):

        def make() -> Any:
            return np.stack([constants.values(row) for row in rows])  # type: ignore[arg-type]

        return Known(make, shape, constants.is_float(dtype))
    views = [row for row in rows if isinstance(row, Parameter)]
    if len(views) == len(rows):  # what a loop only hands on: the parameters of its layers
        return Joined(tuple(viewed(row, row.view[None]) for row in views), 0)
    values = [walk.recorder.number(row) for row in rows if not isinstance(row, Known)]
    detail = Detail(dims=(0,))
    made = walk.recorder.add("stack", "other", values, shape, detail=detail)
    signals = [row for row in rows if isinstance(row, Signal)]
    if len(signals) == shape[0]:  # all were walked
        walk.recorder.stacks[made] = tuple(signals)
    return Signal(made)
