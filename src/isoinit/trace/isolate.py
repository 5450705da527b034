"""Running a model without leaving a trace in it."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(
    model: nn.Module, replace: Callable[[torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """Lend the model other tensors, and put everything back as it was at the end.

    Args:
        model: the model. Inside the block its parameters, buffers and tensor attributes are those
            that `replace` gives; whatever the forward stores on its modules is undone.
        replace: the tensor to lend in place of one of the model's, or None to leave it.

    Attributes, buffers, parameters, hooks, train/eval mode and random number generators are
    restored, also when the block raises.
    """
    snapshots = [(module, _Snapshot(vars(module))) for module in model.modules()]
    generators = _generator_states()
    lent: dict[int, Any] = {}
    try:
        for module, _ in snapshots:
            _lend(vars(module), replace, lent)
        yield
    finally:
        for module, snapshot in snapshots:
            snapshot.restore(vars(module))
        _restore_generators(generators)


class _Snapshot:
    """The contents of a namespace and of the containers in it, however deep."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.items = dict(namespace)
        self.inner = [(held, copy.copy(held)) for held in _containers(namespace.values())]

    def restore(self, namespace: dict[str, Any]) -> None:
        namespace.clear()
        namespace.update(self.items)
        for container, contents in self.inner:
            container.clear()
            if isinstance(container, (list, deque)):
                container.extend(contents)
            else:
                container.update(contents)


def _containers(values: Iterable[Any]) -> list[Any]:
    """The containers among some values, in them, and so on: each once."""
    found: dict[int, Any] = {}
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is tuple:
            waiting.extend(value)
        elif isinstance(value, (dict, list, set, deque)) and id(value) not in found:
            found[id(value)] = value
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return list(found.values())


def _lend(
    namespace: dict[str, Any],
    replace: Callable[[torch.Tensor], torch.Tensor | None],
    lent: dict[int, Any],
) -> None:
    """Replace the tensors of a namespace and of the containers in it, shared ones once."""

    def swapped(value: Any) -> Any:
        if type(value) is tuple and value:
            others = tuple(swapped(item) for item in value)
            return others if any(a is not b for a, b in zip(others, value, strict=True)) else value
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in lent:
            other = replace(value)
            lent[id(value)] = value if other is None else other
        return lent[id(value)]

    for held in _containers([namespace]):
        if isinstance(held, dict):
            for key, value in held.items():
                if (other := swapped(value)) is not value:
                    held[key] = other
        elif isinstance(held, (list, deque)):
            for place, value in enumerate(held):
                if (other := swapped(value)) is not value:
                    held[place] = other


def _generator_states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  # the legacy generator is the global one
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_generators(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
