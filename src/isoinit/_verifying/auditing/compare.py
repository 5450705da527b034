"""What the runs of an initialization, held beside each other, say about one tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from isoinit._verifying.auditing.poisoned import poisons
from isoinit._writing.poison import bits, word

# The same numbers, computed on another device or in another order, may differ in their last bits.
ROUNDING = 1e-5
# The false-alarm rate of this many standard errors is 1e-9, for distributions whose fourth moment a
# sample shows.
ERRORS = 6.0
# A standard deviation or a mean that differs by less changes nothing that matters.
MATTERS = 0.1
LEAST = 32  # values, below which no distributions are compared


@dataclass(frozen=True)
class Missing:
    """What of a tensor was never written, and what was computed from that.

    Attributes:
        never: the elements that still hold what their memory held.
        computed: those that nothing but a computation on such memory wrote.
        first: where the first of either lies.
    """

    never: int
    computed: int
    first: tuple[int, ...]


def missing(first: torch.Tensor, second: torch.Tensor) -> Missing:
    """Compare what a tensor holds after runs from the two poisons.

    What was written is the same in both. What was not differs just as the poisons do; whatever else
    differs was computed from it.
    """
    a, b = bits(first), bits(second)
    pair = poisons(first.dtype)
    untouched = (a == word(a.dtype, pair[0])) & (b == word(b.dtype, pair[1]))
    follows = a != b
    if first.is_complex():
        untouched, follows = untouched.all(-1), follows.any(-1)
    where = follows.nonzero()
    never = int(untouched.sum())
    place = tuple(where[0].tolist()) if len(where) else ()
    return Missing(never, int(follows.sum()) - never, place)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors hold the same bits."""
    return bool(torch.equal(bits(first), bits(second)))


def is_constant(values: torch.Tensor) -> bool:
    """Whether all elements hold the same bits; true of no element."""
    flat = bits(values).reshape(-1)
    return bool((flat == flat[:1]).all())


def farthest(values: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, 0 if it is rounding; NaN on either side is left out."""
    x, y = (_double(t) for t in (values, expected))
    known = ~(x.isnan() | y.isnan())
    x, y = x[known], y[known]
    alike = (x == y) | ((x - y).abs() <= ROUNDING * y.abs())
    if bool(alike.all()):
        return 0.0
    return float((x - y)[~alike].abs().max())


def other_distribution(values: torch.Tensor, expected: torch.Tensor) -> float | None:
    """The ratio of the standard deviations of two random tensors, if their distributions differ.

    None if they may be the same. Distributions are compared by mean and standard deviation, with a
    false-alarm rate of 1e-9.
    """
    x, y = (_double(t).reshape(-1) for t in (values, expected))
    if x.numel() < LEAST or not bool(x.isfinite().all() and y.isfinite().all()):
        return None
    sx, sy = float(x.std()), float(y.std())
    if sy == 0 or sx == 0:
        return None if sx == sy else sx / sy if sy else math.inf
    error = math.hypot(_error(x, sx), _error(y, sy))
    gap = abs(math.log(sx / sy))
    shift = abs(float(x.mean() - y.mean())) / sy
    few = ERRORS * math.sqrt(2 / x.numel()) * max(1.0, sx / sy)
    if gap > max(ERRORS * error, MATTERS) or shift > max(few, MATTERS):
        return sx / sy
    return None


def _error(x: torch.Tensor, std: float) -> float:
    """The standard error of the logarithm of a standard deviation."""
    kurtosis = float((((x - x.mean()) / std) ** 4).mean())
    return math.sqrt(max(kurtosis - 1, 0.1) / (4 * x.numel()))


def _double(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.detach().cpu().double()
