"""Whether numbers have the ratios that were planned, and what has set them to others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLOSE = 1e-6  # ratios are alike within this: a learning rate may be a tensor of float32


@dataclass(frozen=True)
class Number:
    """A number of a group.

    Attributes:
        of: the name of the group.
        value: the number.
        factor: what the base's is multiplied by; 0 if the number is to be 0.
        group: torch's own, where schedulers leave what they were given.
    """

    of: str
    value: float
    factor: float
    group: Mapping[str, Any]

    @property
    def ratio(self) -> float:
        """What the base's number is, by this group."""
        return self.value / self.factor


def ratios_fault(name: str, numbers: Sequence[Number]) -> str:
    """Return what is wrong with the numbers of one name; "" if all are one multiple of the planned.

    All may be 0, as learning rates are at the first step of a warmup.
    """
    for number in numbers:
        if not math.isfinite(number.value):
            return f"the {name} of the group {number.of!r} is {number.value}"
        if not number.factor and number.value:
            return (
                f"the {name} of the group {number.of!r} is {number.value:.6g}, but the transfer "
                "plans 0: weight decay does not act on vectors unless you pass groups(..., "
                "decay_vectors=True)"
            )
    scaled = [number for number in numbers if number.factor]
    if not scaled or _alike([number.ratio for number in scaled]):
        return ""
    return f"{_said(name, scaled)}. {_blamed(name, scaled)}"


def _alike(values: Sequence[float]) -> bool:
    return max(values) - min(values) <= CLOSE * max(map(abs, values))


def _said(name: str, numbers: Sequence[Number]) -> str:
    """Return what is found and what is planned."""
    values = [number.value for number in numbers]
    if _alike(values):
        factors = [f"{number.of!r} ×{number.factor:.4g}" for number in numbers[:3]]
        more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
        return (
            f"all {len(numbers)} groups have the same {name}, {values[0]:.4g}, but the transfer "
            f"plans different multiples of the base's: {', '.join(factors)}{more}"
        )
    usual, others = _apart(numbers)
    planned = usual.ratio * others[0].factor
    more = f" ({len(others) - 1} more groups are wrong)" if len(others) > 1 else ""
    return (
        f"the {name} of the group {others[0].of!r} is {others[0].value:.6g}, but next to "
        f"{usual.value:.6g} of {usual.of!r} the transfer plans {planned:.6g}{more}"
    )


def _apart(numbers: Sequence[Number]) -> tuple[Number, list[Number]]:
    """Return one of the numbers whose ratio most share, and those whose ratios are others."""
    share = Counter(f"{number.ratio:.5g}" for number in numbers)
    usual = max(numbers, key=lambda number: share[f"{number.ratio:.5g}"])
    return usual, [number for number in numbers if not _alike([number.ratio, usual.ratio])]


def _blamed(name: str, numbers: Sequence[Number]) -> str:
    """Return what has set the numbers, as far as it is seen, and what to do."""
    if name != "lr":
        return (
            f"Something set {name} after the groups were made. Multiply it by one factor for all "
            f"groups, or pass another value to t.groups(model, {name}=...)"
        )
    if _left_alike("max_lr", numbers):
        return (
            "OneCycleLR(max_lr=number) gave all groups one learning rate. Give it a list, "
            "max_lr=[group['lr'] for group in optimizer.param_groups], right after making the "
            "groups"
        )
    if _left_alike("initial_lr", numbers):
        return (
            "Their initial_lr is one number too, so it was set before the scheduler was made, or "
            "by a scheduler such as CyclicLR(base_lr=number). Give the scheduler a list with the "
            "'lr' of each group from t.groups"
        )
    if (floor := _floor(numbers)) is not None:
        return (
            f"They seem to have a floor of {floor:.4g}, as from CosineAnnealingLR(eta_min=number) "
            "or ReduceLROnPlateau(min_lr=number). Leave eta_min at 0, give min_lr a list with one "
            "value for each group, or use a factor for all groups, as LambdaLR does"
        )
    return (
        "A loop or a scheduler may have set one number in every group. Multiply the learning rate "
        "of each group by a factor instead, as LambdaLR does"
    )


def _left_alike(key: str, numbers: Sequence[Number]) -> bool:
    """Whether a scheduler left one number in groups, where others are planned."""
    if not all(key in number.group for number in numbers):
        return False
    left = [float(number.group[key]) for number in numbers]
    return _alike(left) and not _alike([number.factor for number in numbers])


def _floor(numbers: Sequence[Number]) -> float | None:
    """Return the floor that learning rates seem to have; None if they don't."""
    least = min(number.value for number in numbers)
    if all("initial_lr" in number.group for number in numbers):
        starts = [float(number.group["initial_lr"]) for number in numbers]
        values = [number.value for number in numbers]
        if not _alike([s / n.factor for s, n in zip(starts, numbers, strict=True)]):
            return None
        if _alike(values):
            return least
        if (floor := _annealed(starts, values)) is not None:
            return floor
    above = [number for number in numbers if number.value > least * (1 + CLOSE)]
    if not above or not _alike([number.ratio for number in above]):
        return None
    held = [number for number in numbers if number not in above]
    lower = all(number.factor * above[0].ratio <= least * (1 + CLOSE) for number in held)
    return least if lower else None


def _annealed(starts: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the floor of learning rates that are floor + (start - floor) · c, with one c for all."""
    (low, low_value), (high, high_value) = (
        which(zip(starts, values, strict=True)) for which in (min, max)
    )
    if low == high:
        return None
    slope = (high_value - low_value) / (high - low)
    rest = low_value - slope * low
    line = [rest + slope * start for start in starts]
    close = all(math.isclose(a, b, rel_tol=10 * CLOSE) for a, b in zip(line, values, strict=True))
    return rest / (1 - slope) if close and rest > 0 and 0 <= slope < 1 else None
