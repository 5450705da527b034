"""What the arguments of a call say about the size of its signal, beyond its inputs and its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from isoinit._reading.graph import Detail
from isoinit._reading.torch.trees import tensors_in

# Functions with an argument `dim`: they work along these axes.
ALONG = frozenset(
    """mean sum softmax log_softmax amax amin std var norm vector_norm cumsum cumprod logsumexp
    normalize glu""".split()
)
BESIDE = frozenset("cat concat stack hstack vstack".split())
# Comparing two rows of places with each other makes a mask that looks back only.
ORDERS = frozenset("tril triu le lt ge gt".split())
WAVES = frozenset({"cos", "sin"})


@dataclass(frozen=True)
class Constant:
    """What is known of a tensor that depends on neither the example nor a parameter.

    Attributes:
        tensor: the tensor, or the real one that a fake one stands for.
        wave: whether it is a sine or cosine of places, whose square is a half on average.
        causal: whether it tells what comes before what.
    """

    tensor: torch.Tensor
    wave: bool = False
    causal: bool = False

    @property
    def moments(self) -> tuple[float, float] | None:
        """Its mean and second moment; None if they are not known."""
        if self.wave:
            return 0.0, 0.5
        tensor = self.tensor
        if isinstance(tensor, FakeTensor) or tensor.is_meta or not tensor.numel():
            return None
        with unset_fake_temporarily(), torch.no_grad():
            values = tensor.detach().double()
            if not bool(values.isfinite().all()):
                return None
            return values.mean().item(), values.square().mean().item()


def constant(
    name: str, args: Sequence[Any], made: torch.Tensor, before: Sequence[Constant], *, moved: bool
) -> Constant:
    """What is known of a constant that a call made of others."""
    compared = name in ("tril", "triu") or sum(isinstance(a, torch.Tensor) for a in args) == 2
    causal = (name in ORDERS and compared) or any(known.causal for known in before)
    keeps = moved or name in BESIDE or name == "mul"  # rotary tables are scaled by one
    wave = name in WAVES or (keeps and any(known.wave for known in before))
    real = before[0].tensor if moved and before else made
    return Constant(real, wave, causal)


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
        return Detail(constant=constants[0].moments, causal=causal)
    if name == "embedding" and constants:  # which places: all the same, or 0, 1, 2, ...
        return Detail(constant=constants[-1].moments)
    if name in ALONG or name in BESIDE:
        return Detail(dims=_dims(name, args, kwargs, made[0]))
    if name == "scaled_dot_product_attention":
        flag = args[5] if len(args) > 5 else kwargs.get("is_causal", False)
        query, scale = args[0] if args else kwargs["query"], kwargs.get("scale")
        power = scale**2 * query.shape[-1] if isinstance(scale, (int, float)) else 1.0
        return Detail(causal=bool(flag) or any(c.causal for c in constants), power=power)
    if name == "einsum":
        return Detail(terms=_summed(args), causal=any(c.causal for c in constants))
    if name == "group_norm":
        return Detail(groups=int(args[1] if len(args) > 1 else kwargs["num_groups"]))
    if name == "instance_norm":
        return Detail(groups=int(made[0].shape[1]))
    if name == "batch_norm":
        training = args[5] if len(args) > 5 else kwargs.get("training", False)
        return Detail(live=bool(training))
    if "dropout" in name:
        return Detail(axes=_same(made[0]), power=_dropout(args, kwargs))
    if moved and isinstance(first, torch.Tensor):
        window = _window(args, kwargs, first) if "pool" in name and "adaptive" not in name else 0
        return Detail(axes=_axes(func, args, kwargs, first, made[0]), window=window)
    return Detail(causal=any(c.causal for c in constants))


def _dims(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], made: torch.Tensor
) -> tuple[int, ...]:
    given = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if name == "normalize":
        given = kwargs.get("dim", args[2] if len(args) > 2 else 1)
    tensor = args[0] if args else kwargs.get("input")
    rank = tensor.dim() if isinstance(tensor, torch.Tensor) else made.dim()
    if name in BESIDE and not isinstance(given, int):
        given = 0
    if isinstance(given, int) and not isinstance(given, bool):
        given = (given,)
    if not isinstance(given, (tuple, list)):
        return tuple(range(rank))
    return tuple(sorted(dim % rank if rank else 0 for dim in given))


def _summed(args: Sequence[Any]) -> int:
    """The terms that a contraction `einsum("ij,jk->ik", x, y)` sums; 0 where letters do not tell."""
    if not args or not isinstance(args[0], str) or "->" not in args[0] or "." in args[0]:
        return 0
    terms, result = args[0].replace(" ", "").split("->")
    sizes = {
        letter: size
        for term, tensor in zip(terms.split(","), tensors_in(args[1:]), strict=True)
        for letter, size in zip(term, tensor.shape, strict=True)
    }
    return math.prod(size for letter, size in sizes.items() if letter not in result)


def _dropout(args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """`dropout(input, p=0.5, training=True)` scales what it keeps by 1/(1 - p)."""
    p = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
    return 1 / (1 - p) if training and 0 < p < 1 else 1.0


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
    no view (pooling, padding) keeps its axes if it keeps their number.
    """
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


def axes_along(shape: Sequence[int], view: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    """The axes of a contiguous tensor of a shape that each axis of a view of it runs along.

    An axis of the view may merge several axes, or be a part of one.
    """
    strides = torch.empty(tuple(shape), device="meta").stride()
    real = [axis for axis, size in enumerate(shape) if size > 1]
    found: list[tuple[int, ...]] = []
    for size, step in zip(view.shape, view.stride(), strict=True):
        merged = tuple(a for a in real if step <= strides[a] < step * size)
        part = tuple(a for a in real if strides[a] <= step)[:1]
        found.append((merged or part) if size > 1 else ())
    return tuple(found)
