"""Operations that reach torch without passing through Python: in scripts, traces and extensions.

What a compiled function does is seen one level further down, where torch dispatches single
operations to their kernels. They have other names and orders of arguments there, which are put back
into those that the readers know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from isoinit._system.private import (
    DisableTorchFunction,
    OpOverload,
    OpOverloadPacket,
    TorchDispatchMode,
)

# Names of the dispatcher, and the functions of the same arguments that they stand for.
PLAIN = {
    **dict.fromkeys(("unsafe_view", "reshape_alias", "alias", "lift_fresh"), "view"),
    **dict.fromkeys(("split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), "split"),
    "to_copy": "to",
    "slice": "narrow",
    "rsub": "sub",
    "native_layer_norm": "layer_norm",
    "native_dropout": "dropout",
    **{f"max_pool{n}d_with_indices": f"max_pool{n}d" for n in (2, 3)},
}
# Their kernels give more than the functions: statistics, masks, indices.
BESIDES = frozenset(
    """batch_norm layer_norm group_norm dropout max_pool2d max_pool3d scaled_dot_product_attention
    """.split()
)


class Told(NamedTuple):
    """A call in the words of torch's Python functions."""

    name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]


def told(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Told:
    """Return what a call of the dispatcher is among torch's Python functions."""
    name = func.__name__.partition(".")[0].strip("_")
    args, kwargs = _in_places(func, args, kwargs)
    if name in FORMS:
        return FORMS[name](*args, **kwargs)
    if name.startswith("scaled_dot_product"):
        return _attention(*args, **kwargs)
    return Told(PLAIN.get(name, name), args, dict(kwargs))


def _in_places(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments by position, as far as a function's schema names their places."""
    placed, named = list(args), dict(kwargs)
    schema = getattr(func, "_schema", None)
    for argument in schema.arguments[len(placed) :] if schema and named else ():
        if argument.kwarg_only:
            break
        placed.append(named.pop(argument.name, argument.default_value))
    return placed, named


def in_words(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Told:
    """Return a call as it was made in Python, also of the dispatcher's own `torch.ops.aten`."""
    own = isinstance(func, (OpOverload, OpOverloadPacket)) and str(func).startswith("aten.")
    return told(func, args, kwargs) if own else Told(name, args, kwargs)


def _convolution(x: Any, weight: Any, bias: Any, *rest: Any) -> Told:
    """The rest: stride, padding, dilation, whether it is transposed, output padding, groups, ..."""
    stride, padding, dilation, transposed, extra, groups = rest[:6]
    kind = f"{'_transpose' if transposed else ''}{weight.dim() - 2}d"
    order = (extra, groups, dilation) if transposed else (dilation, groups)
    return Told(f"conv{kind}", (x, weight, bias, stride, padding, *order), {})


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any) -> Told:
    """The rest: whether it is in training, momentum, epsilon."""
    return Told("batch_norm", (x, mean, var, weight, bias, rest[0]), {})


def _group_norm(x: Any, weight: Any, bias: Any, *rest: Any) -> Told:
    """The rest: examples, channels, pixels, groups, epsilon."""
    return Told("group_norm", (x, rest[3], weight, bias, rest[4]), {})


def _lstm(x: Any, *rest: Any) -> Told:
    """One layer in one direction: four weights, the state, ..., and whether it has biases, at 11."""
    weights = list(rest[:4] if rest[11] else rest[:2])
    return Told("lstm", (x, rest[4:6], weights, bool(rest[11]), 1, 0.0, rest[14], False), {})


def _softmax(x: Any, dim: int, _half: bool) -> Told:
    return Told("softmax", (x, dim), {})


def _index(x: Any, indices: Sequence[Any]) -> Told:
    return Told("getitem", (x, indices[0] if len(indices) == 1 else tuple(indices)), {})


def _attention(q: Any, k: Any, v: Any, *rest: Any, attn_mask: Any = None, **kwargs: Any) -> Told:
    """All kernels of attention take the query, key and value first, and name what else counts."""
    causal = kwargs.get("is_causal", next((a for a in rest if isinstance(a, bool) and a), False))
    named = {"scale": kwargs["scale"]} if kwargs.get("scale") is not None else {}
    return Told("scaled_dot_product_attention", (q, k, v, attn_mask, 0.0, causal), named)


FORMS: dict[str, Callable[..., Told]] = {
    "convolution": _convolution,
    **dict.fromkeys(("native_batch_norm", "native_batch_norm_legit"), _batch_norm),
    "native_group_norm": _group_norm,
    "mkldnn_rnn_layer": _lstm,
    "softmax": _softmax,
    "index": _index,
}

Note = Callable[[Any, Told, Any], None]


class Dispatched(TorchDispatchMode):
    """Hands on the operations of the dispatcher, each with its result.

    Args:
        note: called with the operation, the call in torch's own words, and the result.
        seen: whether a Python function that is recorded as a whole is under way.
    """

    supports_higher_order_operators = True

    def __init__(self, note: Note, seen: Callable[[], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._note, self._seen = note, seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with DisableTorchFunction():  # fake tensors work out shapes by torch's functions
            result = func(*args, **kwargs)
            if not self._seen():
                call = told(func, args, kwargs)
                made = result[0] if call.name in BESIDES else result
                self._note(func, call, made)
        return result
