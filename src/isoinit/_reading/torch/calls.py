"""What a torch function is by its name: a rearrangement, a question about shapes, a write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.overrides import resolve_name

from isoinit._reading.torch.trees import tensors_in

# Rearrangements: each output is an input, or a part, a maximum or an average of inputs of one unit.
MOVES = frozenset(
    """view reshape flatten unflatten transpose permute t T mT swapaxes swapdims movedim squeeze
    unsqueeze expand expand_as repeat repeat_interleave tile contiguous clone detach to type float
    double half bfloat16 view_as reshape_as chunk split tensor_split unbind getitem select narrow
    flip roll unfold index_select gather take_along_dim pad dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_alpha_dropout max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d
    avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d interpolate pixel_shuffle pixel_unshuffle
    channel_shuffle checkpoint requires_grad masked_fill masked_select type_as cpu cuda data""".split()
)
# Of these, the later arguments only tell a shape or a dtype.
LIKE = frozenset("to type_as view_as reshape_as expand_as".split())
# Of the rearrangements, what may give a copy that lies in memory in an order of its own.
COPIES = frozenset("contiguous clone to type float double half bfloat16 type_as cpu cuda".split())
# Of the rearrangements, what may change a tensor's dtype.
CASTS = frozenset("to type float double half bfloat16 type_as".split())
# Their outputs do not depend on the values of their inputs.
SHAPE_ONLY = frozenset(
    """size numel dim stride storage_offset zeros_like ones_like empty_like rand_like randn_like
    full_like new_zeros new_ones new_empty new_full new_tensor is_floating_point data_ptr""".split()
)

GATHERS = frozenset({"getitem", "index_select"})  # of a stack, one matrix for each example
# Of these what comes out are not the same elements: some are left out, repeated or averaged.
ALTERED = re.compile("masked_fill|.*dropout|pad|interpolate|.*_pool|repeat|tile")
ALTERING = frozenset(name for name in MOVES if ALTERED.match(name))
# They read or write the elements that an index says.
INDEXED = frozenset(
    """getitem masked_select index_select gather take_along_dim index_add scatter scatter_add
    index_put""".split()
)
# With constant indices: elements of a parameter at places of the model's choice, some repeated.
PICKS = frozenset({"getitem", "index_select", "gather", "take_along_dim"})
SEEDED = torch.Tag.nondeterministic_seeded
# Calls that write into their first argument besides those whose names end in an underscore.
WRITERS = frozenset(
    """__setitem__ __set__ __iadd__ __isub__ __imul__ __itruediv__ __idiv__ __ifloordiv__ __imod__
    __ipow__ __imatmul__ __iand__ __ior__ __ixor__""".split()
)


SYNONYMS = {
    "truediv": "div",
    "subtract": "sub",
    "multiply": "mul",
    "linalg_matmul": "matmul",
    "linalg_norm": "norm",
    "linalg_vector_norm": "vector_norm",
}


@cache
def function_name(func: Any) -> str:
    """Return the plain name of a torch function: "add" for `torch.Tensor.__iadd__` and `add_`."""
    name = getattr(func, "__name__", "unknown")
    if name == "__get__":  # a property, such as Tensor.T: only the resolved name tells which
        name = (resolve_name(func) or "unknown.__get__").split(".")[-2]
    dunder = re.fullmatch(r"__(?:[ir](?=add|sub|mul|truediv|matmul|pow))?(\w+?)__", name)
    plain = dunder.group(1) if dunder else name.strip("_")
    return SYNONYMS.get(plain, plain)


@cache
def draws(name: str) -> bool:
    """Return whether a function draws random numbers, by torch's own word."""
    for form in (name, f"{name}_"):
        packet = getattr(torch.ops.aten, form, None)
        overloads = packet.overloads() if packet is not None else ()
        if any(SEEDED in getattr(packet, overload).tags for overload in overloads):
            return True
    return False


@cache
def is_pointwise(func: Any) -> bool:
    """Return whether a function is one of single elements, by torch's own word."""
    packet = getattr(torch.ops.aten, function_name(func), None) if resolve_name(func) else None
    names = packet.overloads() if packet is not None else ()
    known = [getattr(packet, name) for name in names if not name.endswith("out")]
    taking = [
        form for form in known if [str(a.type) for a in form._schema.arguments[:1]] == ["Tensor"]
    ]
    tags = [set(form.tags) for form in taking]
    return bool(tags) and all(torch.Tag.pointwise in its and SEEDED not in its for its in tags)


def brings_in(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call makes a tensor of a NumPy array."""
    return any(isinstance(arg, np.ndarray) for arg in (*args, *kwargs.values()))


def written_by(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors that a call writes into."""
    if kwargs.get("out") is not None:
        yield from tensors_in(kwargs["out"])
    if args and (is_writer(func) or kwargs.get("inplace")):
        yield from tensors_in(args[0])
    if kwargs.get("max_norm") is not None:  # an embedding that clips the rows it reads
        yield from tensors_in((args, kwargs))


@cache
def is_writer(func: Any) -> bool:
    """Return whether a function writes into its first argument, by its name."""
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return name in WRITERS or (in_place and name not in ("requires_grad_", "detach_"))


def rearranges(name: str, args: Sequence[Any], made: Any, *, by_signal: bool) -> bool:
    """Return whether a call only rearranges its first argument.

    A cast from booleans or integers to floating-point numbers is a function, and so is one from
    complex to real numbers, and what fills where the signal says, or picks by it from constants.

    Args:
        name: the plain name of the function.
        args: its positional arguments.
        made: what it returned first.
        by_signal: whether the signal tells where it fills or what it picks.
    """
    if name in CASTS and args and is_float(args[0]) != is_float(made):
        return is_float(args[0]) and made.is_complex()
    return name in MOVES and not by_signal


def selects_by_mask(name: str, args: Sequence[Any]) -> bool:
    """Return whether a call is `x[mask]`, which gives the elements where a mask is true."""
    return name == "getitem" and len(args) > 1 and mask_of(args[1]) is not None


def mask_of(index: Any) -> torch.Tensor | None:
    """Return the boolean mask that an index is; None for any other index."""
    if isinstance(index, (tuple, list)) and len(index) == 1:
        index = index[0]
    masked = isinstance(index, torch.Tensor) and index.dtype == torch.bool
    return index if masked else None


def is_float(value: Any) -> bool:
    """Whether an argument is a tensor of floating-point numbers."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()
