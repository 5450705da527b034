"""What the arguments of a call say about the size of its signal, beyond its inputs and its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from isoinit._reading import views
from isoinit._reading.graph import BESIDE, SUMS, Detail
from isoinit._reading.taps import taps
from isoinit._reading.torch.calls import is_float
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.looking import looking
from isoinit._reading.torch.masks import share_left
from isoinit._reading.torch.orders import reordered
from isoinit._reading.torch.trees import tensors_in
from isoinit._system.private import unset_fake_temporarily

# Functions with an argument `dim`: they work along these axes.
ALONG = frozenset(
    """mean sum softmax log_softmax amax amin std var norm vector_norm cumsum cumprod logsumexp
    normalize glu topk max""".split()
)
THIRD = {"normalize": 1, "topk": -1, "norm": None, "vector_norm": None}  # whose `dim` comes third
# Products of two tensors that sum over axes of both.
PRODUCTS = frozenset({"matmul", "bmm", "mm", "linear", "einsum"})
INDEXING = (torch.Tensor.__getitem__, torch.ops.aten.index.Tensor)
TABLES = frozenset("getitem index_select gather take_along_dim take".split())


def detail(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    made: Sequence[torch.Tensor],
    *,
    moved: bool,
    known: Callable[[Any], Constant | None],
) -> Detail:
    """What a call's arguments say.

    Args:
        func: the function that was called.
        name: its plain name.
        args: its positional arguments.
        kwargs: its other arguments.
        made: what it returned.
        moved: whether it only rearranges.
        known: what is known of a tensor, if it is a constant.
    """
    first = args[0] if args else None
    constants = [c for tree in (*args, *kwargs.values()) if (c := known(tree)) is not None]
    if name in ("mul", "div", "add", "sub") and constants:
        causal = any(c.causal for c in constants)
        left = 1.0 if causal else share_left(name, args, kwargs, known)
        alike = constants[0].alike if name in SUMS and not causal else 0.0
        return Detail(constant=constants[0].moments, alike=alike, causal=causal, left=left)
    if name.startswith("conv") and name.endswith("d"):
        found = taps(name, args, kwargs)
        inside = 1.0 if found.few else found.read
        return Detail(inside=inside, becomes=_becomes(name, args))
    if name in ("embedding", "embedding_bag"):
        return _looked_up(name, args, kwargs, known)
    if name in TABLES and is_float(first) and (table := known(first)) is not None:
        return Detail(constant=table.moments, alike=table.alike)
    if name in PRODUCTS:
        zeros = any(c.moments == (0.0, 0.0) for c in constants)
        return Detail(becomes=_becomes(name, args), constant=(0.0, 0.0) if zeros else None)
    if name in ALONG or name in BESIDE:
        return Detail(dims=_dims(name, args, kwargs, made[0]))
    if name == "scaled_dot_product_attention":
        flag = args[5] if len(args) > 5 else kwargs.get("is_causal", False)
        query, scale = args[0] if args else kwargs["query"], kwargs.get("scale")
        power = scale**2 * query.shape[-1] if isinstance(scale, (int, float)) else 1.0
        causal = bool(flag) or any(c.causal for c in constants)
        left = 1.0 if causal else share_left(name, args, kwargs, known)
        return Detail(causal=causal, power=power, left=left)
    if name == "multi_head_attention_forward":
        return Detail(groups=int(args[4] if len(args) > 4 else kwargs["num_heads"]))
    if name in ("group_norm", "instance_norm", "batch_norm"):
        return _normed(name, args, kwargs, made[0])
    if "dropout" in name:
        return Detail(axes=_same(made[0]), power=_dropout(args, kwargs))
    shared = Detail()
    if moved and isinstance(first, torch.Tensor):
        shared = _rearranged(func, name, args, kwargs, made[0])
        if name != "masked_fill":
            return shared
    return _masked(shared, constants, name, args, kwargs, known)


def _looked_up(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: Callable[[Any], Constant | None],
) -> Detail:
    """Return what the arguments of a lookup say.

    Of a table that is no parameter, what it holds; else which places: all the same, or 0, 1, ...
    """
    read = looking(name, args, kwargs)
    table = known(read.table)
    alike = table.alike if table else 0.0
    chosen = table or known(read.rows)
    moments = chosen.moments if chosen else None
    return Detail(constant=moments, alike=alike, clip=read.clip, pool=read.pool, window=read.bag)


def _rearranged(
    func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made: torch.Tensor
) -> Detail:
    """Return what the arguments of a rearrangement say."""
    first = args[0]
    window = _window(args, kwargs, first) if "pool" in name and "adaptive" not in name else 0
    inside = _kept(args, kwargs, first, made) if name == "pad" else 1.0
    axes = _axes(func, args, kwargs, first, made)
    dims = reordered(name, args, kwargs) if made.shape == first.shape else ()
    return Detail(axes=axes, dims=dims, window=window, inside=inside)


def _normed(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made: torch.Tensor
) -> Detail:
    """Return what the arguments of a norm say."""
    if name == "group_norm":
        return Detail(groups=int(args[1] if len(args) > 1 else kwargs["num_groups"]))
    if name == "instance_norm":
        return Detail(groups=int(made.shape[1]))
    training = args[5] if len(args) > 5 else kwargs.get("training", False)
    return Detail(live=bool(training))


def _masked(
    shared: Detail,
    constants: Sequence[Constant],
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: Callable[[Any], Constant | None],
) -> Detail:
    """Return what is known of a call, and of a constant mask that it applies."""
    if any(c.causal for c in constants):
        return replace(shared, causal=True)
    left = share_left(name, args, kwargs, known) if constants else 1.0
    return shared if left == 1 else replace(shared, left=left)


def _becomes(name: str, args: Sequence[Any]) -> tuple[tuple[int | None, ...], ...]:
    """What becomes of the axes of each tensor of a product; () where that is not known."""
    tensors = list(tensors_in(args))
    ranks = [tensor.dim() for tensor in tensors]
    if name == "einsum":
        if not isinstance(args[0], str):
            return ()
        terms, result = axis_letters(args[0])
        if [len(term) for term in terms] != ranks:
            return ()
        places = {letter: place for place, letter in enumerate(result)}
        return tuple(tuple(map(places.get, term)) for term in terms)
    if len(ranks) < 2 or not all(ranks[:2]):
        return ()
    first, second = ranks[:2]
    if name.startswith("conv"):  # the places of the input are those of the result
        return (0, None, *range(2, first)), (1, *[None] * (second - 1))
    if name == "linear":
        return (*range(first - 1), None), (*(first - 1,) * (second - 1), None)
    rows, columns = min(first - 1, 1), min(second - 1, 1)
    batch = max(first, second) - 2 if max(first, second) > 2 else 0
    before = range(batch - max(first - 2, 0), batch)
    after = range(batch - max(second - 2, 0), batch)
    return (*before, *[batch] * rows, None), (*after, None, *[batch + rows] * columns)


def axis_letters(equation: str) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis, which names no axis, left out.

    Without an arrow the result has the letters that occur once, in the order of the alphabet.
    """
    left, arrow, result = equation.replace(" ", "").replace("...", "").partition("->")
    if not arrow:
        result = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    return left.split(","), result


def _dims(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made: torch.Tensor
) -> tuple[int, ...]:
    given = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if name in THIRD:
        given = kwargs.get("dim", args[2] if len(args) > 2 else THIRD[name])
    tensor = args[0] if args else kwargs.get("input")
    rank = tensor.dim() if isinstance(tensor, torch.Tensor) else made.dim()
    if name in BESIDE and not isinstance(given, int):
        given = 0
    if isinstance(given, int) and not isinstance(given, bool):
        given = (given,)
    if not isinstance(given, (tuple, list)):
        return tuple(range(rank))
    return tuple(sorted(dim % rank if rank else 0 for dim in given))


def _dropout(args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """`dropout(input, p=0.5, training=True)` scales what it keeps by 1/(1 - p)."""
    p = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
    return 1 / (1 - p) if training and 0 < p < 1 else 1.0


def _kept(
    args: Sequence[Any], kwargs: Mapping[str, Any], tensor: torch.Tensor, made: torch.Tensor
) -> float:
    """The share of `pad(input, pad, mode="constant", value=0)` that is the input's, and no zeros."""
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
    value = kwargs.get("value", args[3] if len(args) > 3 else None)
    if mode != "constant" or value:
        return 1.0
    return min(tensor.numel() / max(made.numel(), 1), 1.0)


def _window(args: Sequence[Any], kwargs: Mapping[str, Any], tensor: torch.Tensor) -> int:
    """The elements of a pooling window; of one side where one is given for all axes."""
    size = kwargs.get("kernel_size", args[1] if len(args) > 1 else 0)
    if isinstance(size, int):
        return int(size ** max(tensor.dim() - 2, 1))
    return math.prod(size)


def _same(tensor: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    return tuple((axis,) for axis in range(tensor.dim()))


def _axes(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    tensor: torch.Tensor,
    made: torch.Tensor,
) -> tuple[tuple[int, ...], ...] | None:
    """Which axes of a tensor those of a rearrangement run along, found by strides.

    The call is made once more on a tensor without memory; a view of it tells by its strides. What is
    no view (pooling, padding) keeps its axes if it keeps their number. Rows that are looked up by a
    tensor of places have its axes in the place of their own first one.
    """
    if func in INDEXING and len(args) > 1 and _is_places(args[1]):
        rows: int = args[1].dim()
        return ((0,),) * rows + tuple((axis,) for axis in range(1, tensor.dim()))
    with unset_fake_temporarily():
        probe = torch.empty(tuple(tensor.shape), device="meta")
        try:
            result = func(probe, *args[1:], **kwargs)
        except Exception:  # it needs values, or another type
            result = None
    while isinstance(result, (tuple, list)) and result:
        result = result[0]
    if isinstance(result, torch.Tensor) and (result is probe or result._base is probe):
        return axes_along(tuple(probe.shape), result)
    return _same(made) if made.dim() == tensor.dim() else None


def _is_places(index: Any) -> bool:
    """Return whether an index is a tensor of integers."""
    whole = isinstance(index, torch.Tensor) and not index.is_floating_point()
    return bool(whole and index.dtype != torch.bool)


def axes_along(shape: Sequence[int], view: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    """The axes of a contiguous tensor of a shape that each axis of a view of it runs along.

    What is sparse has no strides: its axes are those of the tensor.
    """
    if view.layout is not torch.strided:
        return tuple((axis,) for axis in range(view.dim()))
    return views.axes_along(shape, tuple(view.shape), view.stride())
