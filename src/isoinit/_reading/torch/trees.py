"""Tensors in what people pass and models return: tuples, lists, mappings, dataclasses, objects.

`torch.utils._pytree` does not open mappings and dataclasses that nobody registered with it, such as
what the tokenizers of `transformers` return.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.containers import held_by

PLAIN = (type(None), bool, int, float, str)  # leaves that hold no tensor
# What a forward that yields returns; nothing has run yet.
ITERATORS: tuple[type, ...] = (
    types.GeneratorType,
    map,
    filter,
    zip,
    type(iter([])),
    type(iter(())),
)


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists, sets, mappings and dataclasses, and in attributes.

    Each is known by its type, and no object is asked for what it does not hold.
    """
    kind = type(tree)
    if issubclass(kind, torch.Tensor):
        yield tree
    elif issubclass(kind, (list, tuple, set, frozenset)):
        for item in tree:
            if issubclass(type(item), torch.Tensor):  # as mostly: without a generator of its own
                yield item
            elif not issubclass(type(item), PLAIN):
                yield from tensors_in(item)
    elif issubclass(kind, Mapping):
        for item in tree.values():
            yield from tensors_in(item)
    elif not issubclass(kind, (*PLAIN, nn.Module, type)):
        fields = dataclasses.is_dataclass(kind)
        for _, item in held_by(tree):
            if fields or issubclass(type(item), torch.Tensor):
                yield from tensors_in(item)


def drawn_out(result: Any) -> Any:
    """Return what a model returned, of a generator or another iterator of Python all that it gives."""
    return list(result) if issubclass(type(result), ITERATORS) else result


def map_leaves(function: Callable[[Any], Any], tree: Any, *, opened: type[Any] = dict) -> Any:
    """Return a tree with the function of each leaf in the leaf's place.

    Leaves are what is no tuple, list or mapping of the type `opened`. Mappings become dicts.
    """
    if issubclass(type(tree), opened):
        return {key: map_leaves(function, item, opened=opened) for key, item in tree.items()}
    if issubclass(type(tree), (list, tuple)):
        items = [map_leaves(function, item, opened=opened) for item in tree]
        kind: Any = type(tree)  # a named tuple's constructor may want other arguments
        return tuple.__new__(kind, items) if hasattr(kind, "_fields") else kind(items)
    return function(tree)


def map_tensors(
    function: Callable[[torch.Tensor], Any], tree: Any, *, opened: type[Any] = dict
) -> Any:
    """Return a tree with the function of each tensor in the tensor's place; see `map_leaves`."""

    def mapped(leaf: Any) -> Any:
        return function(leaf) if issubclass(type(leaf), torch.Tensor) else leaf

    return map_leaves(mapped, tree, opened=opened)
