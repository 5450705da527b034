"""Functions of JAX, flattened to their equations and replayed, against JAX itself in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")


from isoinit._reading.jax.replayed import Earlier, Given, Replayed, Step  # noqa: E402

CALLS = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "checkpoint", "closed_call")
PARTS = ("split", "slice")  # a gated unit's halves are inputs of their own
ALONG = ("axes", "axis", "dimension", "dimensions")


class _Flat:
    """The equations of a function; every variable is an operand and the array axes that it has."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        closed = jax.make_jaxpr(function)(*args)
        self.steps: list[Step] = []
        self.count = 0
        self.at: dict[Any, tuple[Any, tuple[int, ...]]] = {}
        for variable in closed.jaxpr.invars:
            self.give(variable)
        (out,) = self.walk(closed, [self.at[v] for v in closed.jaxpr.invars])
        self.end = out[0]

    def give(self, variable: Any) -> None:
        self.at[variable] = Given(self.count), tuple(range(variable.aval.ndim))
        self.count += 1

    def walk(self, closed: Any, args: list[Any]) -> list[Any]:
        inner, consts = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
        for variable, value in zip(inner.constvars, consts, strict=True):
            self.at[variable] = np.asarray(value), tuple(range(np.ndim(value)))
        self.at.update(zip(inner.invars, args, strict=True))
        for equation in inner.eqns:
            self.read(equation)
        return [self.operand(v) for v in inner.outvars]

    def operand(self, atom: Any) -> Any:
        return (np.asarray(atom.val), ()) if hasattr(atom, "val") else self.at[atom]

    def read(self, equation: Any) -> None:
        name, params = equation.primitive.name, dict(equation.params)
        read = [self.operand(v) for v in equation.invars]
        if name in CALLS:
            keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
            inner = next(params[key] for key in keys if key in params)
            self.at.update(zip(equation.outvars, self.walk(inner, read), strict=True))
        elif name in PARTS:
            self.count = 0 if not self.steps else self.count
            for variable in equation.outvars:
                self.give(variable)
        elif name in ("broadcast_in_dim", "reshape", "squeeze"):
            self.at[equation.outvars[0]] = self.moved(name, params, read[0], equation)
        else:
            self.step(name, params, read, equation)

    def moved(self, name: str, params: dict[str, Any], read: Any, equation: Any) -> Any:
        operand, axes = read
        rank = equation.outvars[0].aval.ndim
        if name == "squeeze":
            kept = [axis for at, axis in enumerate(axes) if at not in params["dimensions"]]
            return operand, tuple(kept)
        dims = params["broadcast_dimensions"] if name == "broadcast_in_dim" else ()
        assert name == "broadcast_in_dim" or equation.invars[0].aval.size == 1
        to = list(range(rank))
        for dim, axis in zip(dims, axes, strict=True):
            to[dim] = axis
        assert len(set(to)) == rank
        return operand, tuple(to)

    def step(self, name: str, params: dict[str, Any], read: list[Any], equation: Any) -> None:
        axes = max((axes for _, axes in read), key=len)
        for key in ALONG:
            if key in params:
                given = params[key]
                params[key] = axes[given] if isinstance(given, int) else [axes[a] for a in given]
        if "axes" in equation.params:
            axes = tuple(axis for axis in axes if axis not in params["axes"])
        dtypes = tuple(v.aval.dtype for v in equation.invars)
        self.steps.append(Step(name, params, tuple(operand for operand, _ in read), dtypes))
        for number, variable in enumerate(equation.outvars):
            self.at[variable] = Earlier(len(self.steps) - 1, number), axes

    def replayed(self) -> Replayed:
        return Replayed(self.steps, [self.end])
