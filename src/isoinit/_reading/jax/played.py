"""Equations of a jaxpr as functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from isoinit._reading.graph import Array, Mixed, Pull, Replay, ReplayError
from isoinit._reading.jax import constants
from isoinit._reading.jax.gradients import pull
from isoinit._reading.jax.held import Held, Known, Signal
from isoinit._reading.jax.numerics import replay


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


@dataclass(frozen=True, eq=False)
class Replayed:
    """One equation as a function of arrays, and its gradient.

    Attributes:
        name: the primitive's.
        params: its parameters.
        operands: for each operand the place of the array that stands for it, or a number.
    """

    name: str
    params: Mapping[str, Any]
    operands: tuple[int | Array, ...]

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Return what it makes of arrays."""
        return replay(self.name, self.params, self._filled(arrays))

    def pull(self, arrays: Sequence[Array], gradient: Array) -> Sequence[Array]:
        """Return the gradient by each array, given that by what it makes."""
        found = pull(self.name, self.params, self._filled(arrays), gradient)
        sums: list[Any] = [0.0] * len(arrays)
        for operand, one in zip(self.operands, found, strict=True):
            if isinstance(operand, int):
                sums[operand] = sums[operand] + one
        return sums

    def _filled(self, arrays: Sequence[Array]) -> list[Array]:
        return [arrays[one] if isinstance(one, int) else one for one in self.operands]


def played(
    name: str, params: Mapping[str, Any], operands: Sequence[Held], numbers: Sequence[int]
) -> Played:
    """Return one equation as a function of arrays.

    Args:
        name: the primitive's.
        params: its parameters.
        operands: what it reads: signals and constants.
        numbers: the numbers of the signals, in the order in which arrays will be given.
    """
    places: list[int | Array] = []
    rows: list[Array] = []
    for held in operands:
        if isinstance(held, Signal):
            places.append(numbers.index(held.number))
            continue
        if not isinstance(held, Known):
            return Played(why="uses parameters")
        try:
            one = constants.number(held)
            if one is None:
                rows.append(constants.sampled(held))
                places.append(len(numbers) + len(rows) - 1)
            else:
                places.append(one)
        except ReplayError as refusal:
            return Played(why=f"reads {refusal}")
    made = Replayed(name, params, tuple(places))
    if rows:
        why = "reads a constant tensor of several values"
        return Played(mixed=Mixed(made, tuple(rows), made.pull), why=why)
    return Played(made, made.pull)
