"""The sizes that a transfer is asked for, and what a function builds of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isoinit._system.signals import call_user
from isoinit.errors import ArgumentError, IsoinitError


def require_sizes(base: object, target: object, example: str) -> tuple[int, int]:
    """Return the smaller and the larger argument of a function that builds models.

    Args:
        base: the smaller.
        target: the larger.
        example: a call that is right, for errors.

    Raises:
        ArgumentError: unless both are integers of at least 1, in this order.
    """
    for name, size in (("base", base), ("target", target)):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ArgumentError(
                f"{name}={size!r}: expected an integer of at least 1, a size for build: {example}"
            )
    assert isinstance(base, int)
    assert isinstance(target, int)
    if base > target:
        raise ArgumentError(
            f"base={base} is larger than target={target}. Tune the smaller model, and use its "
            "size as base"
        )
    return base, target


def require_unit(unit: float) -> None:
    """Raise ArgumentError unless a width is above 0."""
    if not unit > 0:
        raise ArgumentError(f"unit={unit!r}: expected a width above 0")


def built(build: Callable[[int], Any], size: int) -> Any:
    """Return what a function builds of a size.

    Raises:
        ArgumentError: if it cannot be built, with the function's own error.
    """
    try:
        return call_user(build, size)
    except IsoinitError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"build({size}) failed: {type(error).__name__}: {error}. Use sizes that the model can "
            "have, such as multiples of its number of heads"
        ) from error
