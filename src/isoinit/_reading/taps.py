"""Which taps of a kernel fall on the input, and which on the padding around it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Where fewer taps than this share fall on the input, most of a kernel never sees anything but zeros,
# and its fans count what it sees. A 3 × 3 kernel with padding has 84 % inside on a map of 8 × 8, and
# 44 % on one of 2 × 2. Above, fans are those of the layer on a large map, so that a plan does not
# follow the size of the example's images.
MOST = 0.5
NAMES = "input weight bias stride padding dilation groups"
TRANSPOSED_NAMES = "input weight bias stride padding output_padding groups dilation"


class Taps(NamedTuple):
    """What an output of a convolution sums over, and what an input reaches, as shares of the fans.

    The fans are those of a map so large that its borders do not count.

    Attributes:
        read: the share of the terms that add up in one output, on average.
        reached: the share of the outputs that one input reaches, on average.
    """

    read: float = 1.0
    reached: float = 1.0

    @property
    def few(self) -> bool:
        """Whether most taps fall on padding."""
        return self.read < MOST


def taps(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Taps:
    """Return the shares of a call of `conv2d`, `conv_transpose2d` or their family."""
    transposed = "transpose" in name
    given: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}
    given |= dict(zip((TRANSPOSED_NAMES if transposed else NAMES).split(), args, strict=False))
    given |= kwargs
    kernel = tuple(given["weight"].shape[2:])
    sizes = tuple(given["input"].shape[-len(kernel) :])
    steps, wide = _each(given["stride"], kernel), _each(given["dilation"], kernel)
    read = reached = 1.0
    for axis, (size, count) in enumerate(zip(sizes, kernel, strict=True)):
        step, reach = steps[axis], wide[axis] * (count - 1)
        before, after = _padding(given["padding"], kernel, axis, reach)
        if transposed:
            extra = _each(given["output_padding"], kernel)[axis]
            made = (size - 1) * step - 2 * before + reach + extra + 1
            found = transposed_along(size, made, step, wide[axis], count, before)
        else:
            found = along(size, step, wide[axis], count, before, after)
        read, reached = read * found.read, reached * found.reached
    return Taps(read, reached)


def along(size: int, step: int, wide: int, count: int, before: int, after: int) -> Taps:
    """Return the shares of a convolution along one axis.

    Args:
        size: of the input.
        step: the stride.
        wide: the dilation.
        count: how many taps the kernel has.
        before: how many zeros stand before the input.
        after: how many stand behind it.
    """
    made = (size + before + after - wide * (count - 1) - 1) // step + 1
    share = _inside(made, step, _offsets(wide, count, before), size)
    return Taps(share, share * made * step / size)


def transposed_along(size: int, made: int, step: int, wide: int, count: int, before: int) -> Taps:
    """Return the same of a transposed convolution, whose output has `made` elements along the axis."""
    share = _inside(size, step, _offsets(wide, count, before), made)
    return Taps(share * size * step / made, share)


def _offsets(wide: int, count: int, before: int) -> list[int]:
    return [wide * tap - before for tap in range(count)]


def _padding(given: Any, kernel: Sequence[int], axis: int, reach: int) -> tuple[int, int]:
    """Return how many zeros stand before and behind an axis."""
    if given == "valid":
        return 0, 0
    if given == "same":
        return reach // 2, reach - reach // 2
    return (_each(given, kernel)[axis],) * 2


def _inside(count: int, step: int, offsets: Sequence[int], size: int) -> float:
    """Return the share of places `i · step + offset`, i below `count`, that are from 0 to `size`."""
    found = 0
    for offset in offsets:
        first = max(math.ceil(-offset / step), 0)
        last = min((size - 1 - offset) // step, count - 1)
        found += max(last - first + 1, 0)
    return found / (count * len(offsets))


def _each(value: Any, kernel: Sequence[int]) -> Sequence[int]:
    """Return one number for each axis of a kernel."""
    if isinstance(value, int):
        return (value,) * len(kernel)
    return tuple(value) * len(kernel) if len(value) == 1 else tuple(value)
