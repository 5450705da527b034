"""What each torch function does with the parameters that it is given: one reader a family.

A reader is given the call and says what kind of operation it is, which tensors carry the signal,
and what every parameter is used for, with the meaning of its axes. It returns nothing where the
call holds no parameter that it knows what to do with; then the call is recorded as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from isoinit._reading.graph import Array, Kind, Op, Use
from isoinit._reading.torch.details import BESIDE, axes_along
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

FACTORED = frozenset({"matmul", "mm", "bmm", "einsum", "multi_dot"})


@dataclass(frozen=True)
class Weight:
    """A tensor that is a parameter, a view of one, or a function of some.

    Attributes:
        tensor: as the call was given it.
        names: the parameters that it was made of.
        shapes: the shape of every parameter.
        exact: whether it is one parameter, perhaps rearranged.
        joined: whether it is several parameters side by side, perhaps rearranged.
        through: the operations that a single parameter went through before its use: ("neg", "exp").
        function: the same as a function of the parameter's elements; None where it is none.
        kept: the shape of the parameter itself, if it holds what a sparse weight keeps; `shapes` then
            has that of the weight.
    """

    tensor: torch.Tensor
    names: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    exact: bool
    joined: bool = False
    through: tuple[str, ...] = ()
    function: Callable[[Array], Array] | None = None
    kept: tuple[int, ...] | None = None

    @property
    def single(self) -> bool:
        """Whether it was made of one parameter, by elementwise steps and rearrangements alone."""
        return self.exact or self.function is not None

    def uses(self, slot: str, layout: Callable[[tuple[int, ...]], Layout]) -> list[Use]:
        """Its use as a whole, the layout made from the shape of the parameter itself.

        Of several parameters (weight norm's direction and length), the one of the tensor's own
        shape is the weight, and so are matrices that were multiplied with each other (the two of
        LoRA); the others take part in an "other" way.
        """
        alike = [name for name in self.names if self.shapes[name] == tuple(self.tensor.shape)]
        factors = slot == "weight" and bool(FACTORED & set(self.through))
        found = []
        for name in self.names:
            shape = self.shapes[name]
            whole = self.single or self.joined or name in alike[:1]
            if whole or (factors and len(shape) == self.tensor.dim()):
                its = layout(shape) if self.kept is None else fans.kept(self.kept, layout(shape))
                found.append(Use(name, slot, its, self.through, self.neutral(slot)))
            else:
                # g of g·v/‖v‖ (Salimans & Kingma 2016): as long as v, or one number a row of it
                slot_of = "length" if "weight_norm" in self.through else "other"
                found.append(Use(name, slot_of, fans.vector(shape)))
        return found

    def neutral(self, slot: str) -> float | None:
        """The value of the parameter at which a bias adds nothing, or a scale changes nothing."""
        goal = {"bias": 0.0, "shift": 0.0, "scale": 1.0}.get(slot)
        if goal is None or not self.through or self.function is None:
            return goal
        with unset_fake_temporarily():
            low, middle, high = self.function(np.array([0.0, 0.5, 1.0]))
        if high == low or not np.isclose(middle, (low + high) / 2):
            return None  # exp(w), softplus(w): what the model means by it is not known
        return float((goal - low) / (high - low))

    def axes(self) -> list[tuple[int, ...]]:
        """The axes of the parameter that each axis of a view runs along, found by strides."""
        return list(axes_along(self.shapes[self.names[0]], self.tensor))


@dataclass(frozen=True)
class Step:
    """What a call is, as part of a graph."""

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Call:
    """One call of a torch function, with the means to ask what its tensors are."""

    name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    weight: Callable[[Any], Weight | None]
    value: Callable[[Any], int | None]
    producer: Callable[[int], Op | None]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by position or by name."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def values(self, *tensors: Any) -> tuple[int, ...]:
        """The numbers of the tensors that carry signal."""
        numbers = [self.value(t) for t in tensors if isinstance(t, torch.Tensor)]
        return tuple(n for n in numbers if n is not None)

    def vector_uses(self, tensor: Any, slot: str) -> list[Use]:
        """The use of a bias or a scale, if there is one."""
        weight = self.weight(tensor)
        return weight.uses(slot, fans.vector) if weight else []

    def generic(self, kind: Kind) -> Step:
        """The call without special knowledge: parameters in it are added, multiplied or other."""
        inputs: list[int] = []
        weights: list[Weight] = []
        for tensor in _flat((self.args, tuple(self.kwargs.values()))):
            first = bool(self.args) and tensor is self.args[0]
            if self.name in INDEXED and not first and not tensor.is_floating_point():
                continue  # it tells which entries, and is no part of the signal
            weight = self.weight(tensor)
            if weight is not None:
                weights.append(weight)
            elif (value := self.value(tensor)) is not None:
                inputs.append(value)
        uses = [
            use
            for weight in weights
            for use in weight.uses(self._slot(weight, inputs), fans.vector)
        ]
        return Step(self.name, kind, tuple(inputs), tuple(uses))

    def _slot(self, weight: Weight, inputs: list[int]) -> str:
        if (
            not weight.single and not weight.joined
        ):  # made of several parameters: what each should be is not known
            return "other"
        if self.name in ("mul", "div"):
            return "scale"
        if self.name in STANDS_IN:
            return "token"
        if self.name not in ("add", "sub"):
            return "other"
        maker = self.producer(inputs[0]) if inputs else None
        if maker is not None and any(use.slot == "scale" for use in maker.uses):
            return "shift"
        extents = [size for size in weight.tensor.shape if size > 1]
        return "position" if len(extents) > 1 else "bias"


INDEXED = frozenset(
    "getitem index_select gather take_along_dim index_add scatter scatter_add index_put".split()
)

# A parameter stands beside the signal, or in its place: a token for a class, or for what is masked.
STANDS_IN = BESIDE | {"where", "setitem", "masked_scatter"}

Reader = Callable[[Call], list[Step]]


def _linear(call: Call) -> list[Step]:
    weight = call.weight(call.get(1, "weight"))
    if weight is None:
        return []
    uses = weight.uses("weight", lambda shape: _contracted(weight, shape, [1], [0]))
    uses += call.vector_uses(call.get(2, "bias"), "bias")
    return [Step("linear", "map", call.values(call.get(0, "input")), tuple(uses))]


def _conv(call: Call) -> list[Step]:
    weight = call.weight(call.get(1, "weight"))
    if weight is None:
        return []
    stride = call.get(3, "stride", 1)
    transposed = "transpose" in call.name
    groups = call.get(6, "groups", 1)
    layout = fans.conv_transpose if transposed else fans.conv
    uses = weight.uses("weight", lambda shape: layout(shape, groups, _scalar_or_tuple(stride)))
    uses += call.vector_uses(call.get(2, "bias"), "bias")
    return [Step(call.name, "map", call.values(call.get(0, "input")), tuple(uses))]


def _scalar_or_tuple(stride: Any) -> int | tuple[int, ...]:
    if isinstance(stride, int):
        return stride
    return stride[0] if len(stride) == 1 else tuple(stride)


def _bilinear(call: Call) -> list[Step]:
    weight = call.weight(call.get(2, "weight"))
    if weight is None:
        return []
    uses = weight.uses("weight", fans.bilinear) + call.vector_uses(call.get(3, "bias"), "bias")
    inputs = call.values(call.get(0, "input1"), call.get(1, "input2"))
    return [Step("bilinear", "map", inputs, tuple(uses))]


def _product(call: Call) -> list[Step]:
    """Matrix products: `x @ w`, `w @ x`, `addmm(bias, x, w)` as Hugging Face's `Conv1D` uses."""
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
    rank = weight.tensor.dim()
    in_, out = [rank + in_axis], [] if out_axis is None else [rank + out_axis]
    uses = weight.uses("weight", lambda shape: _contracted(weight, shape, in_, out))
    if with_bias:
        uses += call.vector_uses(call.args[0], "bias")
    return [Step("matmul", "map", inputs, tuple(uses))]


def _contracted(
    weight: Weight, shape: tuple[int, ...], in_: Sequence[int], out: Sequence[int]
) -> Layout:
    """The layout of a parameter, given what the axes of the view of it do."""
    view = tuple(weight.tensor.shape)
    if not weight.exact and len(shape) != len(view):
        return fans.of_tensor(shape)
    axes = weight.axes() if weight.exact else [(axis,) for axis in range(len(view))]
    ins = sorted({axis for i in in_ for axis in axes[i]})
    outs = sorted({axis for i in out for axis in axes[i]} - set(ins))
    if len(shape) == len(view) == 2 and axes == [(0,), (1,)] and view[0] < shape[0]:
        blocks = shape[0] // view[0]  # a part of the rows: one of several packed matrices
        return fans.linear(shape, blocks if shape[0] % view[0] == 0 else 1)
    stack = [axis for axis in range(len(shape)) if axis not in (*ins, *outs)]
    return fans.contraction(shape, in_=ins, out=outs, stack=stack)


def _einsum(call: Call) -> list[Step]:
    """A contraction by letters: those of the parameter that the result lacks are summed over."""
    operands = list(_flat(call.args[1:]))
    if not isinstance(call.args[0], str):
        return []
    terms, result = _letters(call.args[0])
    for letters, tensor in reversed(list(zip(terms, operands, strict=True))):
        weight = call.weight(tensor)
        if weight is None or len(letters) != tensor.dim() or len(letters) < 2:
            continue
        others = "".join(term for term in terms if term != letters)
        in_ = [i for i, letter in enumerate(letters) if letter not in result]
        out = [i for i, c in enumerate(letters) if c in result and c not in others]
        found = weight
        uses = weight.uses("weight", lambda shape: _contracted(found, shape, in_, out))  # noqa: B023
        inputs = call.values(*[t for t in operands if t is not tensor])
        return [Step("einsum", "map", inputs, tuple(uses))]
    return []


def _letters(equation: str) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis, which names no axis, left out.

    Without an arrow the result has the letters that occur once, in the order of the alphabet.
    """
    left, arrow, result = equation.replace(" ", "").replace("...", "").partition("->")
    if not arrow:
        result = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    return left.split(","), result


def _tensordot(call: Call) -> list[Step]:
    """`tensordot(x, w, dims)`: the last axes of x with the first of w, or axes that are listed."""
    sides = call.get(0, "a"), call.get(1, "b")
    dims = call.get(2, "dims", 2)
    place = 1 if call.weight(sides[1]) is not None else 0
    if isinstance(dims, torch.Tensor):
        return []
    rank = sides[place].dim()
    ends = (range(rank - dims, rank), range(dims)) if isinstance(dims, int) else dims
    return _summed("tensordot", call, sides[place], sides[1 - place], ends[place])


def _inner(call: Call) -> list[Step]:
    """`inner(x, w)`: over the last axis of both."""
    sides = call.get(0, "input"), call.get(1, "other")
    place = 1 if call.weight(sides[1]) is not None else 0
    return _summed("inner", call, sides[place], sides[1 - place], [-1])


def _summed(
    name: str, call: Call, tensor: torch.Tensor, signal: torch.Tensor, axes: Sequence[int]
) -> list[Step]:
    """A product with a weight that sums over some of its axes."""
    weight, inputs = call.weight(tensor), call.values(signal)
    if weight is None or not inputs or call.weight(signal) is not None:
        return []
    in_ = [axis % tensor.dim() for axis in axes]
    out = [axis for axis in range(tensor.dim()) if axis not in in_]
    uses = weight.uses("weight", lambda shape: _contracted(weight, shape, in_, out))
    return [Step(name, "map", inputs, tuple(uses))]


def _embedding(call: Call) -> list[Step]:
    """`F.embedding(indices, table)`, and `torch.embedding(table, indices)`."""
    first, second = call.get(0, "input"), call.get(1, "weight")
    table, indices = (second, first) if call.weight(second) is not None else (first, second)
    weight = call.weight(table)
    if weight is None:
        return []
    bag = 1
    if call.name == "embedding_bag" and call.kwargs.get("mode") == "sum" and indices.dim() == 2:
        bag = int(indices.shape[1])
    padding = call.kwargs.get("padding_idx")
    inputs = call.values(indices)
    # Indices that do not come from the example count places: 0, 1, 2, ...
    slot = "table" if inputs else "position"
    uses = weight.uses(slot, lambda shape: fans.embedding(shape, bag, padding))
    return [Step(call.name, "lookup", inputs, tuple(uses))]


def _lookup(call: Call) -> list[Step]:
    """`table[indices]`: rows of a parameter, chosen by the example or by constants."""
    weight = call.weight(call.get(0, "input"))
    indices = call.args[1] if call.name == "getitem" else call.get(2, "index")
    if weight is None or not weight.exact or not isinstance(indices, torch.Tensor):
        return []
    chosen = call.values(indices)
    shape = weight.shapes[weight.names[0]]
    if not chosen or len(shape) != 2 or indices.is_floating_point() or indices.dtype == torch.bool:
        return []  # a stack of matrices, one for each expert: still a weight
    return [Step("embedding", "lookup", chosen, tuple(weight.uses("table", fans.embedding)))]


def _grouped(call: Call) -> list[Step]:
    """`grouped_mm(x, stack, offs=...)`: rows of x, each multiplied by one matrix of a stack."""
    weight = call.weight(call.get(1, "mat_b"))
    if weight is None or weight.tensor.dim() < 2:
        return []
    rank = weight.tensor.dim()
    uses = weight.uses("weight", lambda shape: _contracted(weight, shape, [rank - 2], [rank - 1]))
    return [Step("grouped_mm", "map", call.values(call.get(0, "mat_a")), tuple(uses))]


def _scores(call: Call) -> list[Step]:
    """Attention whose mask is, or holds, a learned bias by position."""
    mask = call.get(3, "attn_mask")
    weight = call.weight(mask)
    if weight is None:
        return []
    uses = weight.uses("position", fans.vector)
    inputs = call.values(*[call.get(i, n) for i, n in enumerate(("query", "key", "value"))])
    return [Step(call.name, "other", inputs, tuple(uses))]


def _sparse_linear(call: Call) -> list[Step]:
    """`isoinit.sparse_linear(x, values, [columns, starts, ..., begins])`, by rows and by columns."""
    weight = call.weight(call.get(1, "values"))
    if weight is None:
        return []
    places = call.get(2, "places")
    whole = fans.linear((len(places[1]) - 1, len(places[-1]) - 1))
    uses = weight.uses("weight", lambda shape: fans.kept(shape, whole))
    return [Step("sparse_linear", "map", call.values(call.get(0, "x")), tuple(uses))]


def _sparse_embedding(call: Call) -> list[Step]:
    """`sparse_embedding(index, values, columns, shape, padding)`."""
    weight = call.weight(call.get(1, "values"))
    if weight is None:
        return []
    inputs = call.values(call.get(0, "index"))
    slot = "table" if inputs else "position"
    whole = fans.embedding(call.get(3, "shape"))
    uses = weight.uses(slot, lambda shape: fans.kept(shape, whole))
    return [Step("embedding", "lookup", inputs, tuple(uses))]


def _norm(weight_at: int, bias_at: int | None) -> Reader:
    def reader(call: Call) -> list[Step]:
        uses = call.vector_uses(call.get(weight_at, "weight"), "scale")
        if bias_at is not None:
            uses += call.vector_uses(call.get(bias_at, "bias"), "shift")
        return [Step(call.name, "norm", call.values(call.get(0, "input")), tuple(uses))]

    return reader


def _prelu(call: Call) -> list[Step]:
    uses = call.vector_uses(call.get(1, "weight"), "slope")
    return [Step("prelu", "other", call.values(call.get(0, "input")), tuple(uses))] if uses else []


GATES = {"lstm": 4, "gru": 3}  # others (the plain RNNs) have one


def _recurrent(call: Call) -> list[Step]:
    """`torch.lstm`, `gru`, `rnn_tanh`, `rnn_relu`: the weights of all layers in one flat list.

    The arguments go (..., weights, has_biases, layers, dropout, train, bidirectional, ...).
    """
    at = next((i for i, arg in enumerate(call.args) if _holds_weights(call, arg)), None)
    if at is None:
        return []
    flat, biased, layers = call.args[at : at + 3]
    directions = 2 if call.args[at + 5] else 1
    group = len(flat) // (layers * directions)
    uses = [u for i, t in enumerate(flat) for u in _gate_uses(call, t, i % group, biased)]
    inputs = call.values(*_flat(call.args[:at]))
    return [Step(call.name, "recurrent", inputs, tuple(uses))]


def _holds_weights(call: Call, arg: Any) -> bool:
    return isinstance(arg, (list, tuple)) and any(call.weight(t) is not None for t in arg)


def _cell(call: Call) -> list[Step]:
    """One step of a recurrent layer: (input, state, w_ih, w_hh, b_ih, b_hh)."""
    uses = [u for i, t in enumerate(call.args[2:]) for u in _gate_uses(call, t, i, biased=True)]
    inputs = call.values(*_flat(call.args[:2]))
    return [Step(call.name, "recurrent", inputs, tuple(uses))] if uses else []


def _gate_uses(call: Call, tensor: Any, place: int, biased: bool) -> list[Use]:
    """The use of one of a layer's tensors: w_ih, w_hh, b_ih and b_hh if `biased`, then w_hr."""
    weight = call.weight(tensor)
    if weight is None:
        return []
    gates = GATES.get(call.name.removesuffix("_cell"), 1)
    slots = ["input weight", "recurrent weight"]
    slots += ["input bias", "recurrent bias"] if biased else []
    if place >= len(slots):
        return weight.uses("weight", fans.linear)  # w_hr projects the state
    if slots[place].endswith("bias"):
        return weight.uses(slots[place], fans.vector)
    return weight.uses(slots[place], lambda shape: fans.linear(shape, gates))


def _attention(call: Call) -> list[Step]:
    """`F.multi_head_attention_forward`: projections in, attention, and a projection out."""
    inputs = call.values(*[call.get(i, n) for i, n in enumerate(("query", "key", "value"))])
    packed = call.weight(call.get(5, "in_proj_weight"))
    uses = packed.uses("weight", lambda shape: fans.linear(shape, blocks=3)) if packed else []
    for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        separate = call.weight(call.kwargs.get(name))
        uses += separate.uses("weight", fans.linear) if separate else []
    uses += call.vector_uses(call.get(6, "in_proj_bias"), "bias")
    for position, name in ((7, "bias_k"), (8, "bias_v")):
        uses += call.vector_uses(call.get(position, name), "token")
    out = call.weight(call.get(11, "out_proj_weight"))
    if out is None:
        return []
    last = out.uses("weight", fans.linear) + call.vector_uses(call.get(12, "out_proj_bias"), "bias")
    return [
        Step("attention", "attention", tuple(dict.fromkeys(inputs)), tuple(uses)),
        Step("linear", "map", (), tuple(last)),
    ]


def _flat(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, (list, tuple)):
        return [tensor for item in tree for tensor in _flat(item)]
    return []


READERS: dict[str, Reader] = {
    "linear": _linear,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv),
    "sparse_linear.default": _sparse_linear,
    "sparse_embedding": _sparse_embedding,
    "bilinear": _bilinear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addbmm"), _product),
    "einsum": _einsum,
    "tensordot": _tensordot,
    "inner": _inner,
    **dict.fromkeys(("grouped_mm", "grouped_mm_fallback"), _grouped),
    **dict.fromkeys(("getitem", "index_select"), _lookup),
    "scaled_dot_product_attention": _scores,
    "embedding": _embedding,
    "embedding_bag": _embedding,
    "batch_norm": _norm(3, 4),
    "instance_norm": _norm(3, 4),
    "layer_norm": _norm(2, 3),
    "group_norm": _norm(2, 3),
    "rms_norm": _norm(2, None),
    "prelu": _prelu,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
    "multi_head_attention_forward": _attention,
}
