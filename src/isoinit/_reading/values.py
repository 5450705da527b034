"""The values that a parameter has before a plan, and what they say.

A constructor that fills a parameter at random leaves it to a plan. One that writes something else
means something by it: a constant, numbers in order, a pattern, a copy. Whether values look like a
random fill is decided from the values alone: no two are alike, neighbours are independent, and the
diagonal is like the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Kind = Literal["constant", "random", "few", "structured", "unwritten"]

SAMPLE = 1 << 11  # elements that are looked at
CORNER = 64  # elements along each axis of those whose neighbours are looked at
FEW = 8  # elements, below which a random fill cannot be told from anything else
ORDERED = 10  # numbers: of random ones 2/10! are in order by chance, less than one in a million
UNROUND = 4  # digits, beyond which a number is no one's choice
LARGEST_LOG = 50.0  # of numbers whose logarithms a constructor may give
SHOWN = 4  # numbers that are named one by one
# Independent values exceed six standard errors once in 500 million times.
ERRORS = 6.0
FEW_ERRORS = 10.0  # three values do once in a hundred times
SMALL = 64  # values, up to which the standard error is known but roughly
# Of continuous values almost none are equal: of 2,048 float32 numbers about one.
DISTINCT = 0.9
EPSILON = 2.0**-23  # of float32


@dataclass(frozen=True)
class Values:
    """What is known of the values that a parameter has before a plan.

    Attributes:
        kind: "constant" (one number in every element), "random" (they look like a random fill),
            "few" (too few to tell), "structured" (anything else), or "unwritten" (nothing is known).
        said: what was seen, to follow "gives it": "2.0 in every element".
        mean: of an element.
        second: of the square of an element.
        sample: all of them, if they are no more than `SAMPLE`; else None.
        alike: of a table in a pattern, the mean product of two of its rows in the same column.
        kept: what makes the parameter keep them whatever it is for, as in `Entry.kept`; else "".
        because: why, in words: "it is not trained".
        copies: the parameter whose values they are, if it is a copy.
    """

    kind: Kind
    said: str = ""
    mean: float = 0.0
    second: float = 0.0
    sample: Array | None = field(default=None, compare=False, repr=False)
    alike: float = 0.0
    kept: str = ""
    because: str = ""
    copies: str = ""

    @property
    def std(self) -> float:
        """The standard deviation of an element."""
        return math.sqrt(max(self.second - self.mean**2, 0.0))

    @property
    def size(self) -> int:
        """How many were looked at, at most."""
        return SAMPLE if self.sample is None else self.sample.size

    def centred_on(self, value: float) -> bool:
        """Return whether random values vary about a number, as far as chance lets one see.

        A few values are often all on one side of their mean (Student's t). Small ones, as layers draw
        for biases, get the benefit of the doubt.
        """
        errors = FEW_ERRORS if self.size < FEW else ERRORS
        if self.size < SMALL and self.sample is not None and bool((abs(self.sample) < 1).all()):
            errors = ERRORS * (1 + 20 / self.size)  # once in 10⁷ times for eight values, or rarer
        return abs(self.mean - value) * math.sqrt(self.size) <= errors * self.std


def look(values: Array, *, exact: bool = True) -> Values:
    """Return what values say.

    Args:
        values: all of a parameter, in its shape.
        exact: whether its type tells random numbers apart, as float32 does and bfloat16 does not.
    """
    flat = values.reshape(-1)
    step = -(-flat.size // SAMPLE) if flat.size else 1
    some = np.asarray(flat[::step], np.float64)
    if not some.size:
        return Values("unwritten")
    if not np.isfinite(some).all():
        return Values("unwritten", "values that are not finite")
    with np.errstate(over="ignore"):
        mean, second = float(some.mean()), float(np.square(some).mean())
    if not math.isfinite(second):
        return Values("unwritten", "numbers too large to be meant")
    sample = np.asarray(values, np.float64) if step == 1 else None

    def found(kind: Kind, said: str) -> Values:
        alike = rows_alike(values) if kind == "structured" else mean**2
        return Values(kind, said, mean, second, sample, alike)

    if bool((some == some[0]).all()) and bool((flat == flat[0]).all()):
        mean = shortest(float(some[0]))
        second = mean**2
        return found("constant", f"{mean} in every element".replace("-", "−"))
    if said := _numbers(some) or _in_order(some, values) or _repeated(some, exact=exact):
        return found("structured", said)
    # Of random numbers one in some thousands has few digits.
    if exact and some.size < FEW and 2 * sum(map(is_unround, some.tolist())) <= some.size:
        return found("few", f"the numbers {_listed(some)}")
    if said := _neighbours(values) or _diagonal(values):
        return found("structured", said)
    std = math.sqrt(max(second - mean**2, 0.0))
    return found("random", f"random numbers of mean {_short(mean)} and std {_short(std)}")


def rows_alike(values: Array) -> float:
    """Return the mean product of two different rows of a table in the same column.

    Of other values than tables of two rows or more it is the square of their mean.
    """
    table = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)
    count = len(table)
    if count < 2:
        return float(values.mean(dtype=np.float64)) ** 2
    sums = table.sum(axis=0, dtype=np.float64)
    flat = table.reshape(-1)
    squares = float(np.einsum("i,i->", flat, flat, dtype=np.float64))
    return (float(sums @ sums) - squares) / (count * (count - 1) * table.shape[1])


def shortest(value: float) -> float:
    """Return the number of fewest digits that float32 rounds to a value: 0.1, not 0.10000000149."""
    short = float(str(np.float32(value)))
    return value if abs(short - value) > 1e-7 * abs(value) else short


def is_unround(value: float) -> bool:
    """Return whether a number has so many digits that nobody wrote it down."""
    return len(str(shortest(value)).lstrip("-0.").partition("e")[0].replace(".", "")) > UNROUND


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _listed(values: Array) -> str:
    return ", ".join(_short(float(v)) for v in values)


def _numbers(some: Array) -> str:
    """Return in words which few numbers the values are, over and over; "" if they are more."""
    distinct = np.unique(some)
    if distinct.size > min(SHOWN, some.size // 2):
        return ""
    if np.count_nonzero(some) == 1:
        return f"0 in every element but one, which is {_short(float(distinct[distinct != 0][0]))}"
    listed = [_short(float(v)) for v in distinct]
    return f"the numbers {', '.join(listed[:-1])} and {listed[-1]}"


def _in_order(some: Array, values: Array) -> str:
    """Return in words in which order the values stand; "" if they are in none."""
    if some.size < 3:
        return ""
    steps = np.diff(some)
    if (steps > 0).all() or (steps < 0).all():
        ends = f"{_short(float(some[0]))} to {_short(float(some[-1]))}"
        if _has_equal_steps(some):
            return f"the numbers {ends} in equal steps"
        if (some > 0).all() and _has_equal_steps(np.log(some)):
            return f"the numbers {ends} in equal ratios"
        if float(np.ptp(some)) < LARGEST_LOG and _has_equal_steps(np.exp(some - some.min())):
            return f"the logarithms of numbers in equal steps, {ends}"
        if some.size >= ORDERED:
            return f"the numbers {ends} in order"
    rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, -1)
    for table, axis in ((rows, "each row"), (rows.T, "each column")):
        if table.shape[1] < (FEW - 1 if len(table) > 1 else ORDERED) or values.ndim < 2:
            continue
        ups = np.diff(np.asarray(table[:CORNER, : SAMPLE // CORNER], np.float64), axis=1)
        if (ups > 0).all() or (ups < 0).all():
            return f"numbers in order along {axis}"
    return ""


def _has_equal_steps(some: Array) -> bool:
    """Return whether each number follows the one before by the same step, but for rounding."""
    steps = np.diff(some)
    rounding = 4 * EPSILON * float(np.abs(some).max())
    slack = 1e-5 * float(np.ptp(some)) + rounding
    return (
        bool(steps.all())
        and float(np.abs(steps).min()) > rounding
        and float(np.ptp(steps)) <= slack
    )


def _repeated(some: Array, *, exact: bool) -> str:
    """Return in words that values repeat, zeros aside; "" if no more do than by chance."""
    left = some[some != 0]
    if left.size < FEW:
        return ""
    share = np.unique(left).size / left.size
    if share >= DISTINCT or not (exact or share < 0.01):
        return ""
    return f"numbers that repeat ({np.unique(left).size:,} different ones of {left.size:,})"


def _neighbours(values: Array) -> str:
    """Return in words that values are alike, or unlike, along an axis; "" if independent."""
    corner = np.asarray(values[tuple(slice(CORNER) for _ in values.shape)], np.float64)
    corner = corner[tuple(slice(_most(corner.shape, i)) for i in range(corner.ndim))]
    signs = np.sign(corner - np.median(corner[corner != 0])) * (corner != 0)
    for axis in range(signs.ndim):
        one, two = (np.delete(signs, end, axis) for end in (0, -1))
        count = np.count_nonzero(one * two)
        if count >= FEW and abs(float((one * two).sum())) > ERRORS * math.sqrt(count):
            return f"numbers that follow a pattern along axis {axis}"
    return ""


def _most(shape: tuple[int, ...], axis: int) -> int:
    """Return how many elements to look at along an axis: in all, some hundred thousand."""
    return shape[axis] if len(shape) < 3 else max(8, CORNER // (4 * (len(shape) - 2)))


def _diagonal(values: Array) -> str:
    """Return in words that the diagonal of a matrix, or of a kernel's centre tap, stands out."""
    if values.ndim < 2:
        return ""
    at = (slice(None), slice(None), *(size // 2 for size in values.shape[2:]))  # the centre tap
    matrix = values[at]
    diagonal = np.asarray(np.diagonal(matrix), np.float64)
    small = np.asarray(matrix[: 4 * CORNER, : 4 * CORNER], np.float64)
    if diagonal.size < FEW:
        return ""
    errors = ERRORS / math.sqrt(diagonal.size)
    if abs(diagonal.mean() - small.mean()) <= errors * small.std():
        return ""
    low, middle, high = np.quantile(small, (0.25, 0.5, 0.75))  # heavy tails have these, too
    if abs(np.median(diagonal) - middle) <= errors * (high - low):
        return ""
    return f"a diagonal of about {_short(float(np.median(diagonal)))} among random numbers"
