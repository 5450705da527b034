"""Which frozen parameters are copies of trained ones: target, teacher and averaged networks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from isoinit._planning.recipes.values import is_constant


def copies_of(parameters: Mapping[str, nn.Parameter], frozen: Collection[str]) -> dict[str, str]:
    """Return for each frozen copy the trained parameter that it is a copy of.

    Random values that are equal in two parameters are no chance. Constants are: a frozen bias of zeros
    is a copy where other parameters beside it are copies of what lies beside the trained one.

    Args:
        parameters: a model's, by name.
        frozen: the names of those that are not trained.
    """
    trained: dict[tuple[object, ...], list[str]] = {}
    for name, parameter in parameters.items():
        if name not in frozen and _has_values(parameter):
            trained.setdefault(_kind(parameter), []).append(name)
    equal = {
        name: [other for other in trained.get(_kind(p), []) if torch.equal(p, parameters[other])]
        for name, p in parameters.items()
        if name in frozen and _has_values(p)
    }
    places = {
        place
        for name, others in equal.items()
        if others and not is_constant(parameters[name])
        for other in others
        for place in [_places(name, other)]
    }
    found: dict[str, str] = {}
    for name, others in equal.items():
        random = not is_constant(parameters[name])
        for other in others:
            if random or any(_lies_in(name, other, place) for place in places):
                found.setdefault(name, other)
    return found


def _has_values(parameter: torch.Tensor) -> bool:
    kind = type(parameter).__name__
    return not parameter.is_meta and kind in ("Parameter", "Tensor") and bool(parameter.numel())


def _kind(parameter: torch.Tensor) -> tuple[object, ...]:
    return tuple(parameter.shape), parameter.dtype, parameter.device


def _places(name: str, other: str) -> tuple[str, str]:
    """Return what stands before the part that two names have in common at their ends.

    Example:
        >>> _places("target.0.weight", "online.0.weight")
        ('target', 'online')
    """
    left, right = name.split("."), other.split(".")
    while left and right and left[-1] == right[-1]:
        left.pop()
        right.pop()
    return ".".join(left), ".".join(right)


def _lies_in(name: str, other: str, place: tuple[str, str]) -> bool:
    """Return whether two names lie at the same spot of two places."""
    one, two = ((f"{at}." if at else "") for at in place)
    return name.startswith(one) and other.startswith(two) and name[len(one) :] == other[len(two) :]
