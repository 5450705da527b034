"""Evaluates a jaxpr equation by equation, in the order in which it was walked.

Each visit of the evaluation is one of the walk: the arrays are what the walk says that an equation's
outputs hold. The arrays may be traced themselves, by `jax.jit` or `jax.vjp`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from isoinit._reading.jax.held import Branch, Signal, Steps, Visit
from isoinit.errors import TraceError

BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
OTHERWISE = "the model did other operations in this run than when it was read"
# Called with the number of a value and its array; what it returns takes the array's place.
Seen = Callable[[int, Any], Any]


class Evaluation:
    """One evaluation.

    Args:
        visits: what each equation's outputs hold, as the walk saw it.
        sizes: the shape of every value.
        seen: called with each value that an equation makes.
    """

    def __init__(
        self, visits: Sequence[Visit], sizes: Mapping[int, tuple[int, ...]], seen: Seen
    ) -> None:
        self._visits: Iterator[Visit | None] = iter(visits)
        self._sizes, self._seen = sizes, seen

    def closed(self, closed: Any, args: Sequence[Any]) -> list[Any]:
        """Return the outputs of a closed jaxpr."""
        return self.run(closed.jaxpr, closed.consts, args)

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Return the outputs of a jaxpr."""
        from jax.extend.core import Literal

        arrays: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        arrays.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else arrays[atom]

        for eqn in jaxpr.eqns:
            outs = self._equation(eqn, [read(atom) for atom in eqn.invars])
            arrays.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, given: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        if name == "scan":
            return self._scan(eqn, given)
        if name == "cond":
            return self._cond(eqn, given)
        body = next((eqn.params[key] for key in BODIES if key in eqn.params), None)
        if body is not None and name != "while":
            inner = body.jaxpr if hasattr(body, "consts") else body
            consts = body.consts if hasattr(body, "consts") else []
            return self.run(inner, consts, given[len(given) - len(inner.invars) :])
        made = eqn.primitive.bind(*given, **eqn.params)
        return self._visited(list(made) if eqn.primitive.multiple_results else [made])

    def _visited(self, made: list[Any]) -> list[Any]:
        held = next(self._visits, None)
        if not isinstance(held, list) or len(held) != len(made):
            raise TraceError(OTHERWISE)
        return [
            self._shown(one, array) if isinstance(one, Signal) else array
            for one, array in zip(held, made, strict=True)
        ]

    def _shown(self, signal: Signal, array: Any) -> Any:
        size = self._sizes[signal.number]
        shown = array if array.shape == size else array.reshape(size)
        other = self._seen(signal.number, shown)
        return array if other is shown else other.reshape(array.shape)

    def _cond(self, eqn: Any, given: list[Any]) -> list[Any]:
        which, *inner = given
        branch = next(self._visits, None)
        if not isinstance(branch, Branch):
            raise TraceError(OTHERWISE)
        if not hasattr(which, "aval") or not _is_traced(which):
            chosen = int(np.clip(int(which), 0, len(eqn.params["branches"]) - 1))
            if chosen != branch.index:
                raise TraceError(OTHERWISE)
        return self.closed(eqn.params["branches"][branch.index], inner)

    def _scan(self, eqn: Any, given: list[Any]) -> list[Any]:
        import jax.numpy as jnp
        from jax.extend.core import jaxpr_as_fun

        params = eqn.params
        fixed, carried, length = params["num_consts"], params["num_carry"], int(params["length"])
        steps = next(self._visits, None)
        if not isinstance(steps, Steps):
            made = list(eqn.primitive.bind(*given, **params))
            self._visits = chain([steps], self._visits)
            return self._visited(made)
        plain = jaxpr_as_fun(params["jaxpr"])
        consts = given[:fixed]
        carry, each = given[fixed : fixed + carried], given[fixed + carried :]
        rows: list[list[Any]] = []
        for step in range(length):
            at = length - 1 - step if params["reverse"] else step
            args = [*consts, *carry, *[array[at] for array in each]]
            walked = step < steps.count
            outs = self.closed(params["jaxpr"], args) if walked else list(plain(*args))
            carry = outs[:carried]
            rows.append(outs[carried:])
        order = rows[::-1] if params["reverse"] else rows
        stacked = [jnp.stack([row[i] for row in order]) for i in range(len(rows[0]))]
        return [*carry, *stacked]


def _is_traced(array: Any) -> bool:
    from jax.core import Tracer

    return isinstance(array, Tracer)
