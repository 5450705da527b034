"""What must hold between the sizes of a model's signals and of its parameters, as linear equations.

In a model that is stored with gauges every value is some factor times what it is in a model with the
papers' multipliers in its forward. The logarithms of these factors, one for each value and each
parameter, obey one linear equation for each thing that an operation does: a linear map adds its
weight's to its input's, a sum wants equal ones, what is not homogeneous wants none. A multiplier is
the constant term of such an equation. (Yang et al. 2022, Lemma J.1, is
the case of one layer.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from isoinit._planning.transfer.degrees import degrees
from isoinit._planning.transfer.lines import line, shifts
from isoinit._reading.graph import BESIDE, SUMS, Graph, Join, Op, Use

WRITTEN = "written"  # a tensor with a part that was written in place: parts beside each other
# What they add lies where indices say: their last tensor is added to their first.
SCATTERING = frozenset({"index_add", "scatter_add"})
Key: TypeAlias = "int | str"  # the number of a value, or the name of a parameter


@dataclass(frozen=True)
class Equation:
    """Σ factor · log size = -offset, over values and parameters.

    Attributes:
        terms: the factors.
        offset: the logarithm of what our forward multiplies by and the papers' does not.
        op: the index of the operation.
    """

    terms: dict[Key, float]
    offset: float = 0.0
    op: int = -1


@dataclass
class System:
    """The equations of a graph.

    Attributes:
        equations: all of them, in the order of execution.
        fixed: values and parameters that must keep their size.
        returned: values that the model returns and goes on with, which should.
    """

    equations: list[Equation] = field(default_factory=list)
    fixed: set[Key] = field(default_factory=set)
    returned: frozenset[int] = frozenset()


def system(graph: Graph, offsets: Mapping[int, float], fixed: set[str]) -> System:
    """Return the equations of a graph.

    Args:
        graph: what the larger model does.
        offsets: for operations, by index, the logarithm of what ours multiplies its result by (of
            attention its scores, of a residual sum its branch) beyond the papers' forward.
        fixed: parameters that must keep their size, such as those that are not trained.
    """
    returned = frozenset(value for value in graph.outputs if graph.consumers.get(value))
    made = System(fixed={*fixed, *(set(graph.outputs) - returned)}, returned=returned)
    made.fixed |= {v for op in graph.ops for v in op.inputs if v not in graph.producers}
    # No size of w goes with both w and 1 - w.
    made.fixed |= {name for name in graph.shapes if len(shifts(graph, name)) > 1}
    inside = norm_steps(graph)
    for op in graph.ops:
        if op.index not in inside:
            for terms in _equations(graph, op, made.fixed):
                made.equations.append(Equation(terms, 0.0, op.index))
            if op.index in offsets and made.equations and made.equations[-1].op == op.index:
                last = made.equations[-1]
                made.equations[-1] = Equation(last.terms, offsets[op.index], op.index)
    return made


def skipped(join: Join) -> int:
    """Return what a residual sum adds its branch to."""
    return next((v for v in join.op.inputs if v != join.branch), join.branch)


def norm_steps(graph: Graph) -> set[int]:
    """Return the operations inside norm layers that are spelled out in steps, but the last ones."""
    spelled = [graph.ops[index] for index in graph.norms if graph.ops[index].kind != "norm"]
    return {step.index for op in spelled for step in steps_to(graph, op)}


def steps_to(graph: Graph, op: Op) -> list[Op]:
    """Return the operations of a norm layer in steps before its last one, in their order."""
    value, found, waiting = graph.norms[op.index], dict[int, Op](), list(op.inputs)
    while waiting:
        at = waiting.pop()
        step = graph.producers.get(at)
        if at > value and step is not None and step.index not in found:
            found[step.index] = step
            waiting.extend(step.inputs)
    return [found[index] for index in sorted(found)]


def _equations(graph: Graph, op: Op, fixed: set[Key]) -> Iterator[dict[Key, float]]:
    """Yield the terms of an operation's equations, that of the offset last; add what it fixes."""
    if op.index in graph.norms:
        yield from _of_norm(op, fixed)
    elif (join := graph.joins.get(op.index)) is not None:
        yield _equal(skipped(join), op.outputs[0])
        yield _equal(join.branch, op.outputs[0])
    elif op.kind == "map" and op.outputs:
        yield from _of_map(op, fixed)
    elif op.kind == "lookup" and op.outputs:
        for use in op.uses:
            yield _equal(_key(use, fixed), op.outputs[0])
        if not op.uses:
            fixed.update(op.outputs)
    elif op.kind == "attention":
        yield from _of_layer(op, fixed)
    elif op.name == "scaled_dot_product_attention" and (sides := scored(graph, op)):
        value = op.inputs[len(sides)]
        masks = op.inputs[len(sides) + 1 :]
        fixed.update([*masks, *(use.parameter for use in op.uses)])
        yield _equal(value, op.outputs[0])
        yield _sum(*sides)
    elif op.is_neutral or _only_scales(op) or _only_adds(op):
        yield from _of_neutral(op, fixed)
    elif op.uses:
        fixed.update([*op.inputs, *op.outputs, *(use.parameter for use in op.uses)])
    elif len(op.detail.becomes) == 2 <= len(op.inputs):
        yield {**_sum(*op.inputs[:2]), op.outputs[0]: -1.0}
    elif op.name in SCATTERING and op.inputs and op.outputs:
        size = graph.sizes.get(op.outputs[0])
        for value in (op.inputs[-1], *(v for v in op.inputs[:1] if graph.sizes.get(v) == size)):
            yield _equal(value, op.outputs[0])
    elif op.kind == "move" and op.inputs:  # what else it reads says where
        for value in op.outputs:
            yield _equal(op.inputs[0], value)
    elif op.name in BESIDE or op.name == WRITTEN:
        first, *others = op.inputs or op.outputs
        for value in (*others, *op.outputs):
            yield _equal(first, value)
    else:
        yield from _of_function(op, fixed)


def _only_scales(op: Op) -> bool:
    """Whether an operation multiplies its one signal by what is made of parameters, as by exp(t)."""
    scales = bool(op.uses) and all(use.slot == "scale" for use in op.uses)
    return scales and op.kind == "other" and len(op.inputs) == 1 == len(op.outputs)


def _only_adds(op: Op) -> bool:
    """Whether an operation adds parameters to its one signal, as positions or a bias of queries."""
    return bool(op.uses) and op.name in SUMS and len(op.inputs) == 1 == len(op.outputs)


def scored(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the signals whose products are the scores of an attention; () if it is not known.

    They are queries and keys, or keys alone where the queries are a parameter: then what comes first
    has other places than the result.
    """
    if len(op.inputs) >= 3:
        return op.inputs[:2]
    if len(op.inputs) != 2 or not op.uses:
        return ()
    given, made = graph.sizes.get(op.inputs[0], ()), graph.sizes.get(op.outputs[0], ())
    return op.inputs[:1] if len(given) > 1 < len(made) and given[-2] != made[-2] else ()


def _key(use: Use, fixed: set[Key]) -> str:
    """Return the parameter of a use; it is fixed unless what is used is a line of it."""
    if line(use) is None:
        fixed.add(use.parameter)
    return use.parameter


def _equal(one: Key, other: Key) -> dict[Key, float]:
    return {} if one == other else {one: 1.0, other: -1.0}


def _sum(*keys: Key) -> dict[Key, float]:
    terms: dict[Key, float] = {}
    for key in keys:
        terms[key] = terms.get(key, 0.0) + 1.0
    return terms


def _of_norm(op: Op, fixed: set[Key]) -> Iterator[dict[Key, float]]:
    """What a norm layer makes is as large as its scale, whatever it is given."""
    if not op.detail.live:  # it uses what it has measured before
        fixed.update(op.inputs)
    scales = [_key(use, fixed) for use in op.uses if use.slot == "scale"]
    for use in op.uses:
        if use.slot != "scale":
            yield _equal(_key(use, fixed), op.outputs[0])
    yield {**dict.fromkeys(scales, 1.0), op.outputs[0]: -1.0}


def _of_map(op: Op, fixed: set[Key]) -> Iterator[dict[Key, float]]:
    made = op.outputs[0]
    for use in op.uses:
        if use.slot == "bias":
            yield _equal(_key(use, fixed), made)
    weights = [_key(use, fixed) for use in op.uses if use.slot != "bias"]
    for value in op.outputs[1:]:
        yield _equal(made, value)
    yield {**_sum(*op.inputs, *weights), made: -1.0}


def _of_layer(op: Op, fixed: set[Key]) -> Iterator[dict[Key, float]]:
    """An attention layer with its projections: of queries, keys and values, packed or not."""
    weights = [_key(use, fixed) for use in op.uses if use.slot == "weight"]
    if not op.inputs or len(weights) not in (1, 3):
        fixed.update([*op.inputs, *op.outputs, *(use.parameter for use in op.uses)])
        return
    packed = len(weights) == 1
    query, key, value = weights * 3 if packed else weights
    given = op.inputs[0], op.inputs[min(1, len(op.inputs) - 1)], op.inputs[-1]
    if packed or any(use.slot == "bias" for use in op.uses):
        yield _equal(given[0], given[1])
        yield _equal(given[1], given[2])
    for use in op.uses:
        if use.slot == "bias":  # of all three, in one tensor
            for weight in dict.fromkeys(weights):
                yield {_key(use, fixed): 1.0, weight: -1.0, given[0]: -1.0}
        elif use.slot != "weight":
            fixed.add(use.parameter)
    yield {**_sum(given[2], value), op.outputs[0]: -1.0}
    yield _sum(given[0], query, given[1], key)


def _of_neutral(op: Op, fixed: set[Key]) -> Iterator[dict[Key, float]]:
    """A bias or a scale that stands by itself."""
    scales = [_key(use, fixed) for use in op.uses if use.slot == "scale"]
    for use in op.uses:
        if use.slot != "scale":
            yield _equal(_key(use, fixed), op.outputs[0])
    yield {**_sum(*op.inputs, *scales), op.outputs[0]: -1.0}


def _of_function(op: Op, fixed: set[Key]) -> Iterator[dict[Key, float]]:
    """Any other operation: homogeneous, or it wants all that it reads as it is."""
    found = degrees(op)
    if found is None or not op.outputs:
        fixed.update([*op.inputs, *op.outputs])
        return
    terms: dict[Key, float] = {}
    alike = [v for v, power in zip(op.inputs, found.single, strict=True) if power is None]
    for value, power in zip(op.inputs, found.single, strict=True):
        if power:
            terms[value] = terms.get(value, 0.0) + power
    for value in alike[1:]:
        yield _equal(alike[0], value)
    for value in alike[:1]:
        terms[value] = terms.get(value, 0.0) + found.together
    for value in op.outputs[1:]:
        yield _equal(op.outputs[0], value)
    yield {**terms, op.outputs[0]: -1.0}
