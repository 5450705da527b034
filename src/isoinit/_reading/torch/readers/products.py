"""Matrix products and contractions: the axes that a weight sums over, and those that it makes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from isoinit._reading import views
from isoinit._reading.torch.details import axis_letters
from isoinit._reading.torch.readers.call import Call, Step, Weight
from isoinit._reading.torch.trees import tensors_in
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout


def linear(call: Call) -> list[Step]:
    """Read `F.linear(x, w, b)`: a weight of shape (out, in), perhaps a view of another."""
    weight = call.weight(call.get(1, "weight"))
    if weight is None:
        return []
    uses = weight.uses("weight", lambda shape: contracted(weight, shape, [1], [0]))
    uses += call.vector_uses(call.get(2, "bias"), "bias")
    return [Step("linear", "map", call.read(call.get(0, "input")), tuple(uses))]


def sparse_linear(call: Call) -> list[Step]:
    """Read `sparse_linear(x, values, [columns, starts, ..., begins], b)`, by rows and by columns."""
    weight = call.weight(call.get(1, "values"))
    if weight is None:
        return []
    places = call.get(2, "places")
    whole = fans.linear((len(places[1]) - 1, len(places[-1]) - 1))
    uses = weight.uses("weight", lambda shape: fans.kept(shape, whole))
    uses += call.vector_uses(call.get(3, "bias"), "bias")
    return [Step("sparse_linear", "map", call.values(call.get(0, "x")), tuple(uses))]


def bilinear(call: Call) -> list[Step]:
    """Read `F.bilinear(x, y, w, b)`: one weight that reads two signals."""
    weight = call.weight(call.get(2, "weight"))
    if weight is None:
        return []
    uses = weight.uses("weight", fans.bilinear) + call.vector_uses(call.get(3, "bias"), "bias")
    inputs = call.values(call.get(0, "input1"), call.get(1, "input2"))
    return [Step("bilinear", "map", inputs, tuple(uses))]


def product(call: Call) -> list[Step]:
    """Read matrix products: `x @ w`, `w @ x`, `addmm(bias, x, w)` as Hugging Face's `Conv1D` uses."""
    with_bias = call.name in ("addmm", "baddbmm", "addbmm")
    names = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    names = names if with_bias else ("input", "vec" if call.name == "mv" else "mat2")
    left = call.get(with_bias, names[0])
    right = call.get(with_bias + 1, names[1], call.kwargs.get("other", call.kwargs.get("tensor")))
    weights = call.weight(left), call.weight(right)
    if None not in weights:  # parameters alone: still a weight
        return []
    if weights[1] is not None and weights[1].tensor.dim() > 1:
        weight, signal, in_axis, out_axis = weights[1], left, -2, -1
    elif weights[0] is not None and weights[0].tensor.dim() > 1:
        weight, signal, in_axis, out_axis = weights[0], right, -1, -2
    elif weights[1] is not None:  # a vector: one output
        weight, signal, in_axis, out_axis = weights[1], left, -1, None
    elif weights[0] is not None:
        weight, signal, in_axis, out_axis = weights[0], right, -1, None
    else:
        return []
    inputs = call.values(signal)
    if not inputs and (not weight.exact or signal.dim() < 2):
        return []  # a constant times the weight, as in spectral norm: still a weight
    inputs = inputs or call.read(signal)
    rank = weight.tensor.dim()
    in_, out = [rank + in_axis], [] if out_axis is None else [rank + out_axis]
    uses = weight.uses("weight", lambda shape: contracted(weight, shape, in_, out))
    if with_bias:
        uses += call.vector_uses(call.args[0], "bias")
    return [Step("matmul", "map", inputs, tuple(uses))]


def einsum(call: Call) -> list[Step]:
    """Read a contraction by letters: it sums over those of the parameter that the result lacks."""
    operands = list(tensors_in(call.args[1:]))
    alone = len(operands) > 1 and all(call.weight(tensor) is not None for tensor in operands)
    if not isinstance(call.args[0], str) or alone:  # of parameters alone: still a weight
        return []
    terms, result = axis_letters(call.args[0])
    for letters, tensor in reversed(list(zip(terms, operands, strict=True))):
        weight = call.weight(tensor)
        if weight is None or len(letters) != tensor.dim() or len(letters) < 2:
            continue
        others = "".join(term for term in terms if term != letters)
        in_ = [i for i, letter in enumerate(letters) if letter not in result]
        out = [i for i, c in enumerate(letters) if c in result and c not in others]
        found = weight
        uses = weight.uses("weight", lambda shape: contracted(found, shape, in_, out))  # noqa: B023
        inputs = call.values(*[t for t in operands if t is not tensor])
        return [Step("einsum", "map", inputs, tuple(uses))]
    return []


def tensordot(call: Call) -> list[Step]:
    """Read `tensordot(x, w, dims)`: last axes of x with first ones of w, or the axes listed."""
    sides = call.get(0, "a"), call.get(1, "b")
    dims = call.get(2, "dims", 2)
    place = 1 if call.weight(sides[1]) is not None else 0
    if isinstance(dims, torch.Tensor):
        return []
    rank = sides[place].dim()
    ends = (range(rank - dims, rank), range(dims)) if isinstance(dims, int) else dims
    return _summed("tensordot", call, sides[place], sides[1 - place], ends[place])


def inner(call: Call) -> list[Step]:
    """Read `inner(x, w)`: over the last axis of both."""
    sides = call.get(0, "input"), call.get(1, "other")
    place = 1 if call.weight(sides[1]) is not None else 0
    return _summed("inner", call, sides[place], sides[1 - place], [-1])


def _summed(
    name: str, call: Call, tensor: torch.Tensor, signal: torch.Tensor, axes: Sequence[int]
) -> list[Step]:
    """A product with a weight that sums over some of its axes."""
    weight = call.weight(tensor)
    if weight is None or call.weight(signal) is not None or not (inputs := call.values(signal)):
        return []
    in_ = [axis % tensor.dim() for axis in axes]
    out = [axis for axis in range(tensor.dim()) if axis not in in_]
    uses = weight.uses("weight", lambda shape: contracted(weight, shape, in_, out))
    return [Step(name, "map", inputs, tuple(uses))]


def grouped(call: Call) -> list[Step]:
    """Read `grouped_mm(x, stack, offs=...)`: rows of x, each multiplied by one matrix of a stack."""
    weight = call.weight(call.get(1, "mat_b"))
    if weight is None or weight.tensor.dim() < 2:
        return []
    rank = weight.tensor.dim()
    uses = weight.uses("weight", lambda shape: contracted(weight, shape, [rank - 2], [rank - 1]))
    return [Step("grouped_mm", "map", call.values(call.get(0, "mat_a")), tuple(uses))]


def contracted(
    weight: Weight, shape: tuple[int, ...], in_: Sequence[int], out: Sequence[int]
) -> Layout:
    """Return the layout of a parameter, given what the axes of the view of it do."""
    view = tuple(weight.tensor.shape)
    if not weight.exact and len(shape) != len(view):
        return fans.of_tensor(shape)
    axes = weight.axes() if weight.exact else [(axis,) for axis in range(len(view))]
    plain = weight.laid.layout is torch.strided  # what is sparse has no strides
    steps = weight.laid.stride() if plain else ()
    return views.contracted(shape, view, steps, axes, in_, out)
