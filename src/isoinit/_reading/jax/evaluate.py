"""Evaluates a jaxpr equation by equation, in the order in which it was walked.

Each visit of the evaluation is one of the walk: the arrays are what the walk says that an equation's
outputs hold. The arrays may be traced themselves, by `jax.jit` or `jax.vjp`.

A function with a derivative of its own (`jax.custom_jvp`, `jax.custom_vjp`) has the derivative of
its body once it is inlined. So an evaluation that is differentiated calls it as a whole, and names the
values that it must see: for those inside, the body is evaluated beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from isoinit._reading.jax.equation import plain_body, scan_counts
from isoinit._reading.jax.held import Branch, Held, Signal, Steps, Visit
from isoinit.errors import TraceError

BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
RULED = ("custom_jvp_call", "custom_vjp_call")  # functions with a derivative of their own
OTHERWISE = "the model did other operations in this run than when it was read"
# Called with the number of a value and its array; what it returns takes the array's place.
Seen = Callable[[int, Any], Any]


class Evaluation:
    """One evaluation.

    Args:
        visits: what each equation's outputs hold, as the walk saw it.
        sizes: the shape of every value.
        seen: called with each value that an equation makes.
        needed: the values that must be seen. Functions with a derivative of their own, and branches
            that depend on data, are called as a whole. None to inline all of them.

    Attributes:
        beside: whether what is shown now is made beside the evaluation: nothing follows from it, and
            no gradient comes back to it.
        ruled: the values that were needed and are made inside of functions with a derivative of their
            own, and the primitive of the function.
    """

    def __init__(
        self,
        visits: Sequence[Visit],
        sizes: Mapping[int, tuple[int, ...]],
        seen: Seen,
        needed: Collection[int] | None = None,
    ) -> None:
        self._visits, self._at = visits, 0
        self._sizes, self._seen = sizes, seen
        self._needed = None if needed is None else frozenset(needed)
        self.beside = False
        self.ruled: dict[int, str] = {}

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
        body = _body(eqn)
        if body is not None:
            if self._needed is not None and name in RULED:
                return self._ruled(eqn, given, self._needed)
            return self._inlined(eqn, given)
        return self._visited(_bound(eqn, given))

    def _ruled(self, eqn: Any, given: list[Any], needed: frozenset[int]) -> list[Any]:
        """Return what a function with a derivative of its own makes."""
        end, outs = self._past(eqn, self._at)
        inside = needed & _numbers(self._visits[self._at : end]) - _numbers([outs])
        if inside:
            self.ruled.update(dict.fromkeys(inside, eqn.primitive.name))
            outer, self.beside = self.beside, True
            self._inlined(eqn, given)
            self.beside = outer
        self._at = end
        return self._shown_all(outs, _bound(eqn, given))

    def _inlined(self, eqn: Any, given: list[Any]) -> list[Any]:
        body = _body(eqn)
        inner = plain_body(body)
        consts = body.consts if hasattr(body, "consts") else []
        return self.run(inner, consts, given[len(given) - len(inner.invars) :])

    def _next(self) -> Visit | None:
        """Return the next visit; None where there is none."""
        self._at += 1
        return self._visits[self._at - 1] if self._at <= len(self._visits) else None

    def _past(self, eqn: Any, at: int) -> tuple[int, list[Held | None]]:
        """Return where the visits of an equation end, and what its outputs hold as far as is known."""
        name, visit = eqn.primitive.name, self._visits[at]
        unknown: list[Held | None] = [None] * len(eqn.outvars)
        if name == "scan" and isinstance(visit, Steps):
            at += 1
            for _ in range(visit.count):
                at = self._past_all(eqn.params["jaxpr"].jaxpr, at)[0]
            return at, unknown
        if name == "cond" and isinstance(visit, Branch):
            return self._past_all(eqn.params["branches"][visit.index].jaxpr, at + 1)[0], unknown
        body = _body(eqn)
        if body is not None and name not in ("scan", "cond"):
            return self._past_all(plain_body(body), at)
        return at + 1, [*visit] if isinstance(visit, list) else unknown

    def _past_all(self, jaxpr: Any, at: int) -> tuple[int, list[Held | None]]:
        holds: dict[Any, Held | None] = {}
        for eqn in jaxpr.eqns:
            at, outs = self._past(eqn, at)
            holds.update(zip(eqn.outvars, outs, strict=True))
        made = {id(atom): held for atom, held in holds.items()}
        return at, [made.get(id(atom)) for atom in jaxpr.outvars]

    def _visited(self, made: list[Any]) -> list[Any]:
        held = self._next()
        if not isinstance(held, list) or len(held) != len(made):
            raise TraceError(OTHERWISE)
        return self._shown_all(held, made)

    def _shown_all(self, held: Sequence[Held | None], made: list[Any]) -> list[Any]:
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
        if self._needed is not None and self._at < len(self._visits):
            first = self._visits[self._at]
            if isinstance(first, Branch) and not first.certain:
                self._at = self._past(eqn, self._at)[0]
                return _bound(eqn, given)
        if not isinstance(branch := self._next(), Branch):
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
        (fixed, carried), length = scan_counts(eqn), int(params["length"])
        if not isinstance(steps := self._next(), Steps):
            self._at -= 1
            return self._visited(_bound(eqn, given))
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


def _body(eqn: Any) -> Any:
    """Return the jaxpr that an equation calls; None where it calls none, or in a loop."""
    if eqn.primitive.name == "while":
        return None
    return next((eqn.params[key] for key in BODIES if key in eqn.params), None)


def _bound(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """Return what an equation makes, as `jax.core.eval_jaxpr` calls it: with its own derivative."""
    found = eqn.primitive.get_bind_params(eqn.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # as before jax 0.10
    made = eqn.primitive.bind(*functions, *given, **params)
    return list(made) if eqn.primitive.multiple_results else [made]


def _numbers(visits: Sequence[Any]) -> frozenset[int]:
    """Return the values that visits show."""
    held = (one for visit in visits if isinstance(visit, list) for one in visit)
    return frozenset(one.number for one in held if isinstance(one, Signal))


def _is_traced(array: Any) -> bool:
    from jax.core import Tracer

    return isinstance(array, Tracer)
