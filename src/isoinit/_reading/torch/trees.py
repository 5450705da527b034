"""Tensors in the trees that people pass and models return: tuples, lists, mappings, dataclasses.

`torch.utils._pytree` does not open mappings and dataclasses that nobody registered with it, such as
what the tokenizers of `transformers` return.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

PLAIN = (type(None), bool, int, float, str)  # leaves that hold no tensor


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            if isinstance(item, torch.Tensor):  # as mostly: without a generator of its own
                yield item
            elif not isinstance(item, PLAIN):
                yield from tensors_in(item)
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from tensors_in(getattr(tree, field.name))


def map_leaves(function: Callable[[Any], Any], tree: Any, *, opened: type[Any] = dict) -> Any:
    """Return a tree with the function of each leaf in the leaf's place.

    Leaves are what is no tuple, list or mapping of the type `opened`. Mappings become dicts.
    """
    if isinstance(tree, opened):
        return {key: map_leaves(function, item, opened=opened) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        items = [map_leaves(function, item, opened=opened) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return function(tree)


def map_tensors(
    function: Callable[[torch.Tensor], Any], tree: Any, *, opened: type[Any] = dict
) -> Any:
    """Return a tree with the function of each tensor in the tensor's place; see `map_leaves`."""

    def mapped(leaf: Any) -> Any:
        return function(leaf) if isinstance(leaf, torch.Tensor) else leaf

    return map_leaves(mapped, tree, opened=opened)
