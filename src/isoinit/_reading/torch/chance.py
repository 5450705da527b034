"""Random numbers that a forward draws: many of them, in one row, and the same each time.

A few hundred, as many as a mask has, would not show how often it keeps what it is applied to. The
usual distributions are drawn evenly, so that what comes of them has the moments that the model means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from isoinit._reading.graph import ReplayError, first_line
from isoinit._reading.torch.calls import function_name
from isoinit._reading.torch.trees import map_leaves, tensors_in

DRAWN = 1 << 16
UNIFORM = frozenset({"rand", "rand_like", "uniform"})
NORMAL = frozenset({"randn", "randn_like", "normal"})


@dataclass(frozen=True)
class _Row:
    """Stands for a constant tensor in a call: what gives a row of its values."""

    make: Callable[[], torch.Tensor]


@contextmanager
def seeded() -> Iterator[None]:
    """Draw the same numbers each time, and put the generator back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def drawer(
    call: tuple[Any, Sequence[Any], Mapping[str, Any]],
    row_of: Callable[[torch.Tensor], Callable[[], torch.Tensor]],
) -> Callable[[], torch.Tensor]:
    """Return what draws a row of what a call gives, whatever size it asks for.

    Args:
        call: the function, its positional and its other arguments.
        row_of: what gives a row of the values of a tensor that it reads.
    """
    function, args, kwargs = call

    def held(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        return _Row(row_of(leaf)) if isinstance(leaf, torch.Tensor) else leaf

    held_args, held_kwargs = map_leaves(held, (_long(args), {**kwargs, **_long_size(kwargs)}))

    def given(leaf: Any) -> Any:
        return leaf.make() if isinstance(leaf, _Row) else leaf

    def draw() -> torch.Tensor:
        again, others = map_leaves(given, (held_args, held_kwargs))
        try:
            row = _evenly(function_name(function), again)
            result = function(*again, **others) if row is None else row
        except Exception as error:  # whatever torch raises on another shape
            raise ReplayError(f"chance that {first_line(error)}") from error
        row = again[0] if result is None else next(tensors_in(result))
        if row.shape != (DRAWN,):
            raise ReplayError("chance of more than single elements")
        return row

    return draw


def _evenly(name: str, args: Sequence[Any]) -> torch.Tensor | None:
    """Return evenly spaced quantiles in random order; None for other distributions."""
    numbers = [arg for arg in args[1:] if isinstance(arg, (int, float))]
    spaced = (torch.randperm(DRAWN).double() + 0.5) / DRAWN
    if name in UNIFORM and len(numbers) in (0, 2):
        low, high = numbers or (0.0, 1.0)
        return low + (high - low) * spaced
    if name in NORMAL and len(numbers) in (0, 2):
        mean, std = numbers or (0.0, 1.0)
        return mean + std * math.sqrt(2) * torch.erfinv(2 * spaced - 1)
    if name == "bernoulli" and args:
        return (spaced < (numbers[0] if numbers else args[0])).double()
    return None


def _long(args: Sequence[Any]) -> list[Any]:
    """Return arguments with one long axis in the place of a size: `rand(8, 1)`, `rand((8, 1))`."""
    if args and all(type(arg) is int for arg in args):
        return [DRAWN]
    return [(DRAWN,) if _is_size(arg) else arg for arg in args]


def _long_size(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": (DRAWN,)} if "size" in kwargs else {}


def _is_size(arg: Any) -> bool:
    return isinstance(arg, (tuple, list)) and all(type(item) is int for item in arg)
