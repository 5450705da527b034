"""What equations make of parameters alone: views of one, functions of one, compositions of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isoinit._reading.graph import Array, ReplayError, elementwise, first_line
from isoinit._reading.jax import constants
from isoinit._reading.jax.elementwise import SAME
from isoinit._reading.jax.held import (
    WEIGHTS,
    Composed,
    Held,
    Joined,
    Known,
    Parameter,
    Weight,
    blank,
    names_of,
    viewed,
)
from isoinit._reading.jax.names import torch_name
from isoinit._reading.jax.numerics import ELEMENTWISE, replay
from isoinit._reading.jax.views import VIEWS, viewed_by
from isoinit._reading.neutral import neutral_at

LAYERS = ("dot_general", "conv_general_dilated", "gather")

if TYPE_CHECKING:
    from isoinit._reading.jax.equation import Equation


def block(name: str, index: int) -> str:
    """Return the name of a block of a parameter."""
    return f"{name}[{index}]"


def in_blocks(name: str, shape: tuple[int, ...], axis: int, sizes: Sequence[int]) -> Joined:
    """Return a parameter as blocks side by side, each a parameter of its own."""
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    parts = [Parameter(block(name, i), blank(its)) for i, its in enumerate(shapes)]
    return Joined(tuple(parts), axis)


def made(eqn: Equation) -> list[Held] | None:
    """Return what an equation makes of parameters and constants; None where that is a layer.

    A constant times a matrix is one: its use tells.
    """
    if eqn.name in SAME and len(eqn.operands) == len(eqn.shapes):
        return list(eqn.operands)
    weights = [held for held in eqn.operands if isinstance(held, WEIGHTS)]
    first, alone = weights[0], len(eqn.operands) == 1
    if alone and eqn.name in VIEWS:
        seen = viewed_by(eqn, first)
        if seen is not None:
            return list(seen)
    if eqn.name == "concatenate" and len(weights) == len(eqn.operands):
        flat = _side_by_side(weights, int(eqn.params["dimension"]))
        if flat is not None:
            return [flat]
    if eqn.name == "stack" and all(isinstance(w, Parameter) for w in eqn.operands):
        axis = int(eqn.params["axis"])
        views = [
            viewed(w, np.expand_dims(w.view, axis)) for w in weights if isinstance(w, Parameter)
        ]
        if all(view.exact for view in views) and len({v.name for v in views}) == len(views):
            return [Joined(tuple(views), axis)]
    zero = any(_is_zero(held) for held in eqn.operands)
    if eqn.name in LAYERS and len(weights) < len(eqn.operands):
        return [constants.held(np.zeros(eqn.shapes[0], np.float32))] if zero else None
    plain = isinstance(first, Parameter | Joined) and eqn.name in ("add", "add_any")
    if zero and plain and (summed := _added(first, eqn.shapes[0])) is not None:  # type: ignore[arg-type]
        return [summed]
    of_state = any(isinstance(held, Known) and held.state for held in eqn.operands)
    if isinstance(first, Parameter) and first.exact and of_state and eqn.name == "mul":
        spread = viewed(first, np.broadcast_to(first.view, eqn.shapes[0]))
        return [replace(spread, normed=True)]
    if isinstance(first, Parameter) and len(weights) == 1 and eqn.name in ELEMENTWISE:
        found = _function_of(eqn, first)
        if found is not None:
            return [found]
    return [composed(eqn, weights, place) for place in range(len(eqn.shapes))]


def _added(weight: Parameter | Joined, shape: tuple[int, ...]) -> Parameter | Joined | None:
    """Return what zeros and a parameter add up to; None where that is more than the parameter."""
    if isinstance(weight, Parameter):
        spread = viewed(weight, np.broadcast_to(weight.view, shape))
        return replace(spread, added=True) if weight.exact else None
    axis = weight.axis + len(shape) - len(weight.shape)
    parts = []
    for part in weight.parts:
        size = part.shape[weight.axis]
        summed = _added(part, (*shape[:axis], size, *shape[axis + 1 :]))
        if not isinstance(summed, Parameter):
            return None
        parts.append(summed)
    return Joined(tuple(parts), axis)


def _is_zero(held: Held) -> bool:
    return isinstance(held, Known) and held.floats and constants.one_number(held) == 0.0


def _side_by_side(weights: Sequence[Weight], axis: int) -> Joined | None:
    """Return parameters side by side as one; None where one is not exact, or comes twice."""
    parts: list[Parameter] = []
    for weight in weights:
        if isinstance(weight, Joined) and weight.axis == axis:
            parts += weight.parts
        elif isinstance(weight, Parameter) and weight.exact:
            parts.append(weight)
        else:
            return None
    several = len({part.name for part in parts}) == len(parts)
    return Joined(tuple(parts), axis) if several else None


def _function_of(eqn: Equation, weight: Parameter) -> Parameter | None:
    """Return a function of a parameter's elements; None where an operand is no number."""
    numbers: list[Array | None] = []
    for held in eqn.operands:
        if held is weight:
            numbers.append(None)
            continue
        assert isinstance(held, Known)
        try:
            number = constants.number(held)
        except ReplayError:  # a mask whose values are not at hand: what is made of it says why
            number = None
        if number is None:
            return None
        numbers.append(number)
    before, name, params = weight.function, eqn.name, eqn.params
    if name == "convert_element_type" and constants.is_float(eqn.dtypes[0]):
        return weight

    def function(elements: Array) -> Array:
        given = elements if before is None else before(elements)
        made = replay(name, params, [given if n is None else n for n in numbers])[0]
        return np.asarray(made)

    few = np.linspace(-2.0, 2.0, 6)
    try:
        elementwise(lambda rows: function(rows[0]), [few], rtol=1e-9, atol=1e-12)
    except ReplayError:  # the operations that a parameter went through are named beside its use
        return None
    view = weight.view
    if view.shape != eqn.shapes[0]:
        view = np.broadcast_to(view, eqn.shapes[0])
    return replace(
        weight, view=view, through=(*weight.through, torch_name(name)), function=function
    )


def composed(eqn: Equation, weights: Sequence[Weight], place: int = 0) -> Composed:
    """Return a tensor that is made of parameters by an equation."""
    shape = eqn.shapes[place]
    makers = [_maker(held) for held in eqn.operands]
    reasons = [w.reason for w in weights if isinstance(w, Composed) and w.reason]
    bind, params, dtypes = eqn.bind, dict(eqn.params), eqn.read

    def make(given: Mapping[str, Array]) -> Array:
        arrays = [maker(given) for maker in makers]
        try:
            typed = [np.asarray(a).astype(t) for a, t in zip(arrays, dtypes, strict=True)]
            found = bind(*typed, **params)
        except Exception as error:  # whatever JAX raises on other types
            raise ReplayError(f"{eqn.name} cannot be made again: {first_line(error)}") from error
        found = found[place] if isinstance(found, (list, tuple)) else found
        return np.asarray(found).astype(np.float64)

    through = [step for weight in weights for step in through_of(weight)]
    through += [] if eqn.name in VIEWS else [torch_name(eqn.name)]
    kinds, beside = _kinds(eqn, weights)
    elements = max((_elements(weight) for weight in weights), default=1)
    grows = eqn.name in ("dot_general", "add", "sub", "mul", "div", "concatenate")
    return Composed(
        shape,
        kinds,
        tuple(dict.fromkeys(through)),
        make,
        math.prod(shape) if grows or not shape else min(elements, math.prod(shape)),
        (eqn.name, str(sorted(eqn.params.items(), key=str)), place, *map(_key, eqn.operands)),
        reasons[0] if reasons else "",
        _factors(eqn, weights),
        beside,
    )


def through_of(weight: Weight) -> tuple[str, ...]:
    """Return the operations that something went through."""
    if isinstance(weight, Joined):
        return tuple(step for part in weight.parts for step in part.through)
    return weight.through


def _elements(weight: Weight) -> int:
    return math.prod(weight.shape) if isinstance(weight, Joined) else weight.elements


def _key(held: Held) -> Any:
    if isinstance(held, Composed):
        return held.key
    if isinstance(held, Known):
        return (held.shape, id(held.kept))
    assert isinstance(held, WEIGHTS), "what is made of parameters reads no signal"
    return tuple((name, held.shape) for name in names_of(held))


def _maker(held: Held) -> Callable[[Mapping[str, Array]], Any]:
    """Return what makes an operand of values for the parameters."""
    if isinstance(held, Known):
        return lambda _given: constants.values(held)
    if isinstance(held, Composed):
        return held.make
    if isinstance(held, Joined):
        makers, axis = [_maker(part) for part in held.parts], held.axis
        return lambda given: np.concatenate([make(given) for make in makers], axis)
    assert isinstance(held, Parameter)
    return lambda given: _seen(held, given[held.name])


def _seen(parameter: Parameter, values: Array) -> Array:
    """Return the view of a parameter that holds these values."""
    flat = np.ascontiguousarray(values, np.float64)
    view = parameter.view
    steps = [step * flat.itemsize for step in view.strides]
    start = (view.__array_interface__["data"][0] - parameter.origin) * flat.itemsize
    seen = np.ndarray(view.shape, np.float64, flat.reshape(-1).data, start, steps)
    return np.asarray(seen if parameter.function is None else parameter.function(seen))


def _kinds(eqn: Equation, weights: Sequence[Weight]) -> tuple[dict[str, str], dict[str, Weight]]:
    """Return what each parameter is to the result of an equation, and what scales or shifts it."""
    kinds = [
        dict(w.kinds) if isinstance(w, Composed) else dict.fromkeys(names_of(w), "weight")
        for w in weights
    ]
    beside: dict[str, Weight] = {}
    for weight in weights:
        beside |= weight.beside if isinstance(weight, Composed) else {}
    if eqn.name in ("mul", "div", "add", "sub") and len(weights) == 2:
        small, large = sorted((0, 1), key=lambda i: _elements(weights[i]))
        if _elements(weights[small]) < _elements(weights[large]) == math.prod(eqn.shapes[0]):
            kind = "scale" if eqn.name in ("mul", "div") else "shift"
            alone = names_of(weights[small])
            beside |= {alone[0]: weights[small]} if len(alone) == 1 else {}
            kinds[small] = {n: kind if k == "weight" else k for n, k in kinds[small].items()}
        elif eqn.name in ("add", "sub"):
            return _sum_kinds(weights, kinds), beside
    found: dict[str, str] = {}
    for its in kinds:
        for name, kind in its.items():
            if found.get(name) != "weight":  # v of v/‖v‖ is more than a scale
                found[name] = kind
    return found, beside


def neutral_beside(weight: Composed, name: str, kind: str, shape: tuple[int, ...]) -> float | None:
    """Return the value at which a parameter that scales or shifts a weight does nothing.

    Args:
        weight: what is made of it.
        name: the parameter's.
        kind: "scale" or "shift".
        shape: the parameter's.
    """
    if (child := weight.beside.get(name)) is None:
        return None
    goal = {"scale": 1.0, "shift": 0.0}[kind]
    make = _maker(child)

    def effect(value: float) -> float:
        try:
            found = np.asarray(make({name: np.full(shape, value)}))
        except ReplayError:
            return math.nan
        alike = found.size and not np.iscomplexobj(found) and np.ptp(found) == 0
        return float(found.flat[0]) if alike else math.nan

    return goal if isinstance(child, Parameter) and child.exact else neutral_at(effect, goal)


def _sum_kinds(weights: Sequence[Weight], kinds: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return the kinds of a sum of two tensors of one shape: of a weight and a product of low rank?"""
    found = {**kinds[1], **kinds[0]}
    for product, beside in (weights, weights[::-1]):
        if not isinstance(product, Composed) or product.factors is None:
            continue
        if isinstance(beside, Composed) and beside.factors is not None:
            continue
        rank, left, right = product.factors
        if rank < min(product.shape[-2:]):
            found.update(dict.fromkeys(left, "adapter left"))
            found.update(dict.fromkeys(right, "adapter right"))
    return found


def _factors(
    eqn: Equation, weights: Sequence[Weight]
) -> tuple[int, tuple[str, ...], tuple[str, ...]] | None:
    """Return the rank and the sides of a product of two matrices, also one that was scaled."""
    if eqn.name == "dot_general" and len(weights) == 2 and len(eqn.shapes[0]) == 2:
        (left, _), _ = eqn.params["dimension_numbers"]
        rank = math.prod(weights[0].shape[axis] for axis in left)
        return rank, names_of(weights[0]), names_of(weights[1])
    one = weights[0]
    keeps = eqn.name in ("mul", "div", "transpose", "neg", "convert_element_type")
    return one.factors if isinstance(one, Composed) and len(weights) == 1 and keeps else None
