"""Several equations of a jaxpr as one function of arrays, with its gradient.

What a person calls one function is six equations for a softmax and eight for a GELU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoinit._reading.graph import Array, ReplayError
from isoinit._reading.jax import numerics
from isoinit._reading.jax.elementwise import Params, Values


@dataclass(frozen=True)
class Given:
    """An operand that an array is given for.

    Attributes:
        position: the place of that array.
    """

    position: int


@dataclass(frozen=True)
class Earlier:
    """An operand that an earlier step made.

    Attributes:
        step: the number of the step.
        result: which of its results.
    """

    step: int
    result: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """One equation.

    Attributes:
        primitive: the name of its primitive.
        params: its parameters.
        operands: what it reads; an array or a number is a constant.
        dtypes: the recorded dtypes of its operands; empty where arrays say enough.
    """

    primitive: str
    params: Params
    operands: tuple[Given | Earlier | Values | float, ...]
    dtypes: tuple[Any, ...] = ()


class Replayed:
    """A chain of equations as a function of arrays: what `Op.replay` and `Op.pull` are.

    Args:
        steps: the equations, in order; each reads arrays given, constants, and earlier results.
        results: what the function returns; by default all that the last step makes.

    >>> steps = [Step("exp", {}, (Given(0),)), Step("mul", {}, (Earlier(0), Given(0)))]
    >>> function = Replayed(steps)
    >>> function([np.zeros(2)])
    [array([0., 0.])]
    >>> function.pull([np.zeros(2)], np.ones(2))
    [array([1., 1.])]
    """

    def __init__(self, steps: Sequence[Step], results: Sequence[Earlier] = ()) -> None:
        self.steps, self._results = tuple(steps), tuple(results)

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Return what the equations make of arrays.

        Raises:
            ReplayError: if one of them cannot be replayed on these.
        """
        made = self._run(arrays)
        found = [made[at.step][at.result] for at in self._results] or made[-1]
        return [one.copy() for one in found]  # what hands on its operands made none of its own

    def pull(self, arrays: Sequence[Array], gradient: Array) -> Sequence[Array]:
        """Return the gradient by each array, given that by the one result; zeros by integers.

        Raises:
            ReplayError: if there are several results, or a step has no gradient.
        """
        made = self._run(arrays)
        results = self._results or [Earlier(len(made) - 1, at) for at in range(len(made[-1]))]
        end = results[0]
        if len(results) != 1 or made[end.step][end.result].shape != gradient.shape:
            raise ReplayError("does not give one number for each of its inputs")
        sent: dict[Given | Earlier, Values] = {end: gradient}
        for number in reversed(range(end.step + 1)):
            step = self.steps[number]
            ends = [sent.get(Earlier(number, at)) for at in range(len(made[number]))]
            if all(one is None for one in ends):
                continue
            read = _read(step, arrays, made)
            flows = [isinstance(operand, (Given, Earlier)) for operand in step.operands]
            known = made[number]
            back = numerics.pull(step.primitive, step.params, read, ends, step.dtypes, known, flows)
            for operand, one in zip(step.operands, back, strict=True):
                if isinstance(operand, (Given, Earlier)):
                    sent[operand] = sent[operand] + one if operand in sent else one
        shapes = [np.shape(array) for array in arrays]
        return [sent.get(Given(at), np.zeros(shape)) for at, shape in enumerate(shapes)]

    def _run(self, arrays: Sequence[Array]) -> list[list[Values]]:
        """Return what each step makes."""
        made: list[list[Values]] = []
        for step in self.steps:
            read = _read(step, arrays, made)
            made.append(numerics.replay(step.primitive, step.params, read, step.dtypes))
        return made


def _read(step: Step, arrays: Sequence[Array], made: Sequence[Sequence[Values]]) -> list[Any]:
    """Return what stands for the operands of a step."""
    return [
        arrays[operand.position]
        if isinstance(operand, Given)
        else made[operand.step][operand.result]
        if isinstance(operand, Earlier)
        else operand
        for operand in step.operands
    ]
