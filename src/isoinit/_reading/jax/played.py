"""Equations of a jaxpr as functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from isoinit._reading.graph import Array, Mixed, Pull, Replay, ReplayError
from isoinit._reading.jax import constants
from isoinit._reading.jax.elementwise import Values
from isoinit._reading.jax.held import Held, Known, Signal
from isoinit._reading.jax.replayed import Given, Replayed, Step


class Played(NamedTuple):
    """An operation as a function of arrays.

    Attributes:
        replay: of arrays in place of the inputs; None where there is none.
        pull: its gradient.
        mixed: the same where constants of several values take part.
        why: why there is no replay.
    """

    replay: Replay | None = None
    pull: Pull | None = None
    mixed: Mixed | None = None
    why: str = ""


NOT_PLAYED = Played()


def played(
    name: str,
    params: Mapping[str, Any],
    operands: Sequence[Held],
    numbers: Sequence[int],
    dtypes: Sequence[Any] = (),
) -> Played:
    """Return one equation as a function of arrays.

    Args:
        name: the primitive's.
        params: its parameters.
        operands: what it reads: signals and constants.
        numbers: the numbers of the signals, in the order in which arrays will be given.
        dtypes: the types of the operands; by default those of the arrays.
    """
    places: list[Given | Values] = []
    rows: list[Array] = []
    for held in operands:
        if isinstance(held, Signal):
            places.append(Given(numbers.index(held.number)))
            continue
        if not isinstance(held, Known):
            return Played(why="uses parameters")
        try:
            one = constants.number(held)
            if one is None:
                rows.append(constants.sampled(held))
                places.append(Given(len(numbers) + len(rows) - 1))
            else:
                places.append(one)
        except ReplayError as refusal:
            return Played(why=f"reads {refusal}")
    made = Replayed([Step(name, params, tuple(places), tuple(dtypes))])
    if rows:
        why = "reads a constant tensor of several values"
        return Played(mixed=Mixed(made, tuple(rows), made.pull), why=why)
    return Played(made, made.pull)
