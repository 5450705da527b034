"""Walks through the equations of a jaxpr: every call is inlined, every loop is walked step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from isoinit._reading.graph import Graph
from isoinit._reading.jax import constants, loops, parameters
from isoinit._reading.jax.equation import Equation, plain_body
from isoinit._reading.jax.held import (
    WEIGHTS,
    Held,
    Known,
    Parameter,
    Signal,
    Visit,
    blank,
    names_of,
)
from isoinit._reading.jax.moments import moments_of
from isoinit._reading.jax.norms import with_norms
from isoinit._reading.jax.prune import pruned
from isoinit._reading.jax.recorder import Recorder
from isoinit._reading.jax.table import READERS
from isoinit._reading.slopes import with_slopes

# Calls of another jaxpr, under any of these names of the parameter that holds it.
BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
LOOPS = ("scan", "while", "cond")


class Walk:
    """One walk through a jaxpr.

    Args:
        recorder: what operations are recorded in.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.visits: list[Visit] = []  # what each equation's outputs hold, in the order of the walk

    def run(self, jaxpr: Any, consts: Sequence[Held], args: Sequence[Held]) -> list[Held]:
        """Walk through a jaxpr; return what its outputs hold."""
        from jax.extend.core import Literal

        holds: dict[Any, Held] = dict(zip(jaxpr.constvars, consts, strict=True))
        holds.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Held:
            return constants.held(atom.val) if isinstance(atom, Literal) else holds[atom]

        last = _last_reads(jaxpr)
        for place, eqn in enumerate(jaxpr.eqns):
            outs = self._equation(eqn, [read(atom) for atom in eqn.invars])
            holds.update(zip(eqn.outvars, outs, strict=True))
            for atom in last.get(place, ()):
                holds.pop(atom, None)
        return [read(atom) for atom in jaxpr.outvars]

    def closed(self, closed: Any, args: Sequence[Held]) -> list[Held]:
        """Walk through a closed jaxpr."""
        return self.run(closed.jaxpr, [constants.held(c) for c in closed.consts], args)

    def _equation(self, eqn: Any, operands: list[Held]) -> list[Held]:
        name = eqn.primitive.name
        if name in LOOPS:
            return loops.walked(self, eqn, operands)
        body = next((eqn.params[key] for key in BODIES if key in eqn.params), None)
        if body is not None:
            inner = operands[len(operands) - len(plain_body(body).invars) :]
            return (
                self.closed(body, inner) if hasattr(body, "consts") else self.run(body, [], inner)
            )
        equation = Equation(
            name,
            eqn.params,
            operands,
            [tuple(v.aval.shape) for v in eqn.outvars],
            [v.aval.dtype for v in eqn.outvars],
            [v.aval.dtype for v in eqn.invars],
            eqn.primitive.bind,
        )
        outs = self.read(equation)
        self.visits.append(outs)
        return outs

    def read(self, eqn: Equation) -> list[Held]:
        """Return what an equation makes of what it reads."""
        known = [held for held in eqn.operands if isinstance(held, Known)]
        if len(known) == len(eqn.operands):
            kinds = zip(eqn.shapes, eqn.dtypes, strict=True)
            return [
                constants.computed(eqn.name, eqn.params, known, shape, dtype, eqn.bind, place)
                for place, (shape, dtype) in enumerate(kinds)
            ]
        if not any(not isinstance(held, (*WEIGHTS, Known)) for held in eqn.operands):
            made = parameters.made(eqn)
            if made is not None:
                return made
        reader = READERS.get(eqn.name)
        if reader is None:
            return self._not_known(eqn)
        return reader(self.recorder, eqn)

    def _not_known(self, eqn: Equation) -> list[Held]:
        """Record a primitive that nothing here reads: what comes of it is not known."""
        recorder = self.recorder
        weights = [held for held in eqn.operands if isinstance(held, WEIGHTS)]
        uses = [use for weight in weights for use in recorder.uses(weight, "other")]
        named = recorder.unknown.setdefault(eqn.name, [])
        named += [use.parameter for use in uses]
        others = (h for h in eqn.operands if not isinstance(h, (*WEIGHTS, Known)))
        values = list(dict.fromkeys(recorder.number(held) for held in others))
        if not values and not uses:
            raise AssertionError("constants alone are computed")
        outs = recorder.several(eqn.name, "other", values, eqn.shapes, uses)
        return [Signal(number) for number in outs]


def _last_reads(jaxpr: Any) -> dict[int, list[Any]]:
    """Return the variables that no equation behind a place reads: what they hold can be let go."""
    from jax.extend.core import Literal

    where: dict[Any, int] = {}
    for place, eqn in enumerate(jaxpr.eqns):
        where.update((atom, place) for atom in eqn.invars if not isinstance(atom, Literal))
    for atom in jaxpr.outvars:
        if not isinstance(atom, Literal):
            where.pop(atom, None)
    found: dict[int, list[Any]] = {}
    for atom, place in where.items():
        found.setdefault(place, []).append(atom)
    return found


@dataclass(frozen=True)
class Traced:
    """What was read of a jaxpr.

    Attributes:
        graph: what it does.
        notes: sentences about what is not understood.
        blocks: for each parameter that is used in blocks, such as the layers that a scan goes through,
            the axis along which they lie, and their names in the graph.
        visits: what the outputs of each equation hold, in the order of `evaluate`.
        closed: the jaxpr.
    """

    graph: Graph
    notes: tuple[str, ...] = ()
    blocks: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    visits: Sequence[Visit] = field(default=(), repr=False)
    closed: Any = field(default=None, repr=False)

    @cached_property
    def shown(self) -> frozenset[int]:
        """The values that an evaluation shows."""
        held = (one for visit in self.visits if isinstance(visit, list) for one in visit)
        return frozenset(one.number for one in held if isinstance(one, Signal))

    @cached_property
    def parents(self) -> dict[str, str]:
        """The parameter that each block is of."""
        return {part: name for name, (_, parts) in self.blocks.items() for part in parts}

    def parent(self, name: str) -> str:
        """Return the parameter that a name of the graph is, or is a block of."""
        return self.parents.get(name, name)


def trace(
    closed: Any,
    names: Sequence[str],
    state: Sequence[Any],
    inputs: Sequence[Any],
    aliases: Mapping[str, str] | None = None,
) -> Traced:
    """Read a jaxpr whose arguments are parameters, then the model's state, then the example.

    Args:
        closed: a closed jaxpr.
        names: the names of the parameters, in the order of its first arguments.
        state: arrays that belong to the model, such as running statistics.
        inputs: the arrays of the example, or what stands for them (shapes and types).
        aliases: other names of the parameters.
    """
    shapes = {
        name: tuple(v.aval.shape) for name, v in zip(names, closed.jaxpr.invars, strict=False)
    }
    blocks: dict[str, tuple[int, tuple[int, ...]]] = {}
    while True:  # once more for each parameter that turns out to be used in blocks
        walk, outputs = _walked(closed, shapes, names, state, inputs, blocks)
        if walk.recorder.splits.keys() <= blocks.keys():
            break
        blocks = {**walk.recorder.splits, **blocks}
    recorder = walk.recorder
    outs = [held for held in outputs if not isinstance(held, Known)]
    returned = {name for held in outs if isinstance(held, WEIGHTS) for name in names_of(held)}
    numbers = tuple(recorder.number(held) for held in outs if not isinstance(held, WEIGHTS))
    graph = Graph(
        ops=tuple(pruned(recorder.ops, numbers)),
        sizes=recorder.sizes,
        shapes=recorder.shapes,
        outputs=numbers,
        how="jaxpr",
        aliases=dict(aliases or {}),
        given=recorder.given,
        returned=frozenset(returned),
        channels_last=recorder.channels_last(),
    )
    notes = [_unknown(name, named) for name, named in recorder.unknown.items()]
    notes += [f"the primitive '{name}': {what}" for name, what in recorder.notes.items()]
    parts = {
        name: (axis, tuple(parameters.block(name, i) for i in range(len(sizes))))
        for name, (axis, sizes) in blocks.items()
    }
    return Traced(with_slopes(with_norms(graph)), tuple(notes), parts, walk.visits, closed)


def _walked(
    closed: Any,
    shapes: Mapping[str, tuple[int, ...]],
    names: Sequence[str],
    state: Sequence[Any],
    inputs: Sequence[Any],
    blocks: Mapping[str, tuple[int, tuple[int, ...]]],
) -> tuple[Walk, list[Held]]:
    held: list[Held] = []
    known = dict(shapes)
    for name in names:
        if name in blocks:
            axis, sizes = blocks[name]
            joined = parameters.in_blocks(name, shapes[name], axis, sizes)
            known.pop(name)
            known |= {part.name: part.shape for part in joined.parts}
            held.append(joined)
        else:
            held.append(Parameter(name, blank(shapes[name])))
    walk = Walk(Recorder(known))
    held += [_state(leaf) for leaf in state]
    held += [_input(walk.recorder, leaf) for leaf in inputs]
    return walk, walk.closed(closed, held)


def _state(leaf: Any) -> Held:
    if isinstance(leaf, (np.ndarray, np.generic)) or hasattr(leaf, "addressable_shards"):
        return replace(constants.held(leaf), state=True)
    why = "of the model's state, which has no values here"
    return replace(constants.unknown(leaf.shape, leaf.dtype, why), state=True)


def _input(recorder: Recorder, leaf: Any) -> Held:
    number = recorder.new(leaf.shape)
    given = moments_of(leaf)
    if given is not None:
        recorder.given[number] = given
    if not constants.is_float(leaf.dtype):
        recorder.data.add(number)
    return Signal(number)


def _unknown(name: str, named: Sequence[str]) -> str:
    of = f" of {', '.join(map(repr, dict.fromkeys(named)))}" if named else ""
    return f"the primitive '{name}'{of} is not understood: what comes of it counts as not known"
