"""`select_n`: a constant choice, an index from the end, a mask, chance, or a function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from isoinit._reading.graph import Detail, ReplayError, Times
from isoinit._reading.jax import constants
from isoinit._reading.jax.held import Held, Known, Pending, Signal
from isoinit._reading.jax.played import Played
from isoinit._reading.jax.pointwise import pointwise

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation
    from isoinit._reading.jax.recorder import Recorder


def select(recorder: Recorder, eqn: Equation) -> list[Held]:
    """Read `select_n`: a constant choice, an index from the end, a mask, chance, or a function."""
    which, *cases = eqn.operands
    if isinstance(which, Known) and (chosen := constants.one_number(which)) is not None:
        picked = cases[int(chosen)]
        if recorder.size(picked) == eqn.shapes[0]:
            return [picked]
    if len(cases) != 2:
        return pointwise(recorder, eqn)
    if isinstance(which, Signal) and (index := _from_the_end(recorder, which, cases)) is not None:
        return [index]
    if isinstance(which, Known):
        for place, (signal, other) in enumerate((cases, cases[::-1])):
            if isinstance(signal, (Signal, Pending)) and isinstance(other, Known):
                return [_masked(recorder, eqn, which, signal, other, shown=bool(place))]
    return pointwise(recorder, eqn)


def _from_the_end(recorder: Recorder, which: Signal, cases: Sequence[Held]) -> Held | None:
    """Return an index of which negative ones count from the end; None where it is something else."""
    compared = recorder.maker.get(which.number)
    if compared is None or compared.name != "lt" or len(compared.inputs) != 1:
        return None
    index, wrapped = cases
    if not isinstance(index, Signal) or not isinstance(wrapped, Signal):
        return None
    added = recorder.maker.get(wrapped.number)
    same = compared.inputs[0] == index.number and index.number in recorder.data
    return index if same and added is not None and added.inputs == (index.number,) else None


def _masked(
    recorder: Recorder, eqn: Equation, mask: Known, signal: Held, other: Known, *, shown: bool
) -> Held:
    """Return a signal of which a constant mask shows a part.

    Args:
        recorder: what operations are recorded in.
        eqn: the equation.
        mask: the mask.
        signal: what it shows.
        other: what stands where it does not.
        shown: whether it shows it where it is true.
    """
    value, fill = recorder.number(signal), constants.one_number(other)
    size = eqn.shapes[0]
    axes = tuple((axis,) for axis in range(len(size)))
    if mask.drawn and fill == 0.0 and (share := _share(mask, shown)) is not None:
        return _dropped(recorder, value, size, share)
    if fill is not None and fill < constants.HIDES:
        left = constants.above(mask)
        if left is not None and not shown:
            left = ~left
        causal = constants.is_causal(mask)
        share_of = 1.0 if causal else constants.share_left(left)
        detail = Detail(axes=axes, causal=causal, left=share_of)
        return Signal(recorder.add("masked_fill", "move", [value], size, detail=detail))
    operands = [Signal(value) if held is signal else held for held in eqn.operands]
    return pointwise(recorder, replace(eqn, operands=operands))[0]


def _dropped(recorder: Recorder, value: int, size: tuple[int, ...], share: float) -> Signal:
    """Return a signal of which chance keeps a share: as dropout, if it was divided by that share."""
    made = recorder.maker.get(value)
    divided = made is not None and made.name in ("div", "mul") and made.replay is not None
    if made is not None and divided and len(made.inputs) == 1:
        factor = float(made.play([np.ones(1)])[0][0])
        if math.isclose(factor * share, 1.0, rel_tol=0.25):  # of few elements another share is kept
            axes = tuple((axis,) for axis in range(len(size)))
            detail = Detail(axes=axes, power=factor)
            return Signal(recorder.add("dropout", "move", made.inputs, size, detail=detail))
    kept = Times(share)
    number = recorder.add("dropout", "other", [value], size, played=Played(kept, kept.pull))
    recorder.change(recorder.maker[number], chance=1 / share)
    return Signal(number)


def _share(mask: Known, shown: bool) -> float | None:
    """Return the share of elements that chance keeps, to four digits; None where it is not known."""
    try:
        found = float(np.mean(constants.values(mask)))
    except ReplayError:  # it is read as any other mask, which says why
        return None
    share = float(f"{found if shown else 1 - found:.4g}")
    return share if share > 0 else None
