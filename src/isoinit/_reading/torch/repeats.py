"""Calls that repeat: what one of them is in the graph, the next of the same signature is, too.

What a call is follows from the function, the forms of its tensors, and what these are: a signal, a
constant, or a whole parameter. Where all of that was met before, in another block, only the numbers
of the values and the names of the parameters differ.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from isoinit._reading.graph import SUMS, Op, Use
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.forms import Signature
from isoinit._reading.torch.readers.call import Weight

Known = int | Weight | Constant
NO_VALUE = -1


class Met(NamedTuple):
    """A call with what its tensors are.

    Attributes:
        key: equal for calls that are the same in the graph but for numbers and names.
        values: the number of each tensor that is a signal, in order; `NO_VALUE` for the others.
        weights: the parameters among its tensors, in order.
        of_constants: whether all of them are constants.
    """

    key: Hashable
    values: tuple[int, ...]
    weights: tuple[Weight, ...]
    of_constants: bool


@dataclass(frozen=True)
class _Template:
    """An operation that was met, with where its inputs and uses stand in the call.

    Attributes:
        op: the operation.
        inputs: for each input the place of its tensor among those of the call.
        uses: for each use the place of its parameter among those of the call.
    """

    op: Op
    inputs: tuple[int, ...]
    uses: tuple[int, ...]


class Repeats:
    """The operations and constants of one recording, by what calls they are of."""

    def __init__(self) -> None:
        self._templates: dict[Hashable, _Template] = {}
        self._made: dict[Hashable, list[Constant]] = {}
        self._constants: dict[int, Constant] = {}  # kept, so that no other gets the number

    def met(
        self,
        name: str,
        signature: Signature,
        known: Callable[[torch.Tensor], Known | None],
        data: Container[int],
    ) -> Met | None:
        """Return a call with what its tensors are; None where that does not tell what it is.

        What is added to a signal counts as a bias or a position by what was made before.

        Args:
            name: the plain name of the function.
            signature: that of the call.
            known: what is known of a tensor: the number of a value, a parameter or a constant.
            data: the numbers of what is made of the example's masks and tokens alone.
        """
        values: list[int] = []
        weights: list[Weight] = []
        key: list[Hashable] = [signature.key]
        for tensor in signature.tensors:
            what = known(tensor)
            value = NO_VALUE
            if type(what) is int:
                value = what
                key.append((values.index(value) if value in values else len(values), value in data))
            elif isinstance(what, Constant):
                self._constants[id(what)] = what
                key.append(id(what))
            elif isinstance(what, Weight) and name not in SUMS and what.is_whole:
                key.append("parameter")
                weights.append(what)
            else:
                return None
            values.append(value)
        signals = any(value != NO_VALUE for value in values)
        if weights and not signals:
            return None
        return Met(tuple(key), tuple(values), tuple(weights), not signals)

    def operation(self, met: Met, index: int, outputs: Sequence[int]) -> Op | None:
        """Return the operation of a call, by one that was met before; None if none was.

        Args:
            met: the call.
            index: the operation's.
            outputs: the numbers of the values that it makes.
        """
        if (known := self._templates.get(met.key)) is None:
            return None
        op = known.op
        inputs = tuple([met.values[place] for place in known.inputs])
        uses = tuple(
            _of(use, met.weights[place].names[0])
            for use, place in zip(op.uses, known.uses, strict=True)
        )
        facts = op.replay, op.detail, op.rank, op.mixed, op.unplayed, op.pull, op.chance, op.single
        return Op(index, op.name, op.kind, inputs, tuple(outputs), uses, *facts)

    def remember(self, met: Met, op: Op) -> None:
        """Remember an operation, if its call tells all of its inputs and uses."""
        names = [weight.names[0] for weight in met.weights]
        told = set(met.values).issuperset(op.inputs) and all(u.parameter in names for u in op.uses)
        if told and len(set(names)) == len(names):
            inputs = tuple(met.values.index(value) for value in op.inputs)
            uses = tuple(names.index(use.parameter) for use in op.uses)
            self._templates[met.key] = _Template(op, inputs, uses)

    def constants(self, met: Met) -> list[Constant] | None:
        """Return what constants the same call of the same constants made; None if none was met."""
        return self._made.get(met.key)

    def remember_constants(self, met: Met, made: Sequence[Constant | None]) -> None:
        """Remember what a call made of constants, unless chance takes part."""
        found = [constant for constant in made if constant is not None]
        if len(found) == len(made) and not any(constant.draw for constant in found):
            self._made[met.key] = found


def _of(use: Use, parameter: str) -> Use:
    return use if use.parameter == parameter else replace(use, parameter=parameter)
