"""What parameters look like, as NumPy arrays: `torch/weights` and `torch/units` in NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream
from isoinit._reading.graph import Array
from isoinit._reading.roles import Role
from isoinit._reading.values import look
from isoinit._showing.page import Histogram
from isoinit._verifying.health.arrays.layers import in_reals, moments
from isoinit._verifying.health.records import WeightHealth
from isoinit._verifying.health.steps import (
    BINS,
    BITS,
    COUNTED,
    EPSILON,
    PROBES,
    ROUNDING,
    STEP,
    relative_step,
)
from isoinit.initializers.scale.fans import Layout

Values = npt.NDArray[Any]


def measure_weights(
    values: Mapping[str, Values],
    roles: Mapping[str, Role],
    gradients: Mapping[str, float | None],
    lr: float | None,
    optimizer: str,
) -> dict[str, WeightHealth]:
    """Look at every parameter, one at a time.

    Args:
        values: by name; those that are no real or complex numbers are not trained.
        roles: what each is for.
        gradients: root mean square of each one's gradient, None where none came.
        lr: the learning rate; None for no update.
        optimizer: "sgd" or "adam".
    """
    return {
        name: _measured(name, array, roles[name], gradients.get(name), lr, optimizer)
        for name, array in values.items()
    }


def _measured(
    name: str, values: Values, role: Role, gradient: float | None, lr: float | None, optimizer: str
) -> WeightHealth:
    reals = in_reals(values)
    mean, std, rms, largest = moments(reals)
    rank = full = math.nan
    twins, identical = 0.0, False
    drawn = values.dtype.kind not in "biu"
    is_map = "weight" in role.slot and values.ndim > 1 and drawn and values.size > 0
    if is_map and math.isfinite(rms):
        rank, full = effective_rank(values, role.layout)
        twins = share_of_twins(values, role.layout)
    if role.must_differ and drawn:
        identical = all_identical(values, role.layout)
    return WeightHealth(
        name,
        mean,
        std,
        rms,
        largest,
        rank,
        full,
        twins,
        identical,
        gradient,
        None if lr is None else relative_step(gradient, rms, lr, optimizer),
        histogram(reals) if math.isfinite(rms) else None,
    )


def histogram(values: Array) -> Histogram | None:
    """Return how often values fall into bins between the smallest and the largest; of many, some."""
    flat = values.reshape(-1)
    if not len(flat):
        return None
    some = flat[:: -(-len(flat) // COUNTED)]
    low, high = float(some.min()), float(some.max())
    if not math.isfinite(high - low):
        return None
    bars = np.histogram(some, BINS, (low, high))[0].tolist() if low < high else [len(some)]
    return Histogram(low, high, bars)


def maps(values: Values, layout: Layout) -> Iterator[Values]:
    """Yield the matrices (units, inputs) that a weight holds: its gates, its groups, or the one."""
    order = layout.stack + layout.out + layout.in_ + layout.taps
    stack, out, _, _ = layout.maps_shape
    yield from values.reshape(layout.grid).transpose(order).reshape(stack, out, -1)


def effective_rank(values: Values, layout: Layout) -> tuple[float, float]:
    """Return the mean effective rank of the matrices in a weight, and that of independent entries.

    tr(WWᵀ) is known, and tr((WWᵀ)²) = E‖WWᵀx‖² for x of independent unit entries (Hutchinson 1989).
    """
    ranks, fulls = [], []
    stream = Stream(0, "check", "signs")
    for matrix in maps(values, layout):
        units, inputs = matrix.shape
        fulls.append(units * inputs / (units + inputs))
        matrix = np.asarray(matrix, np.result_type(matrix.dtype, np.float32))
        size = float(np.linalg.norm(matrix))
        if size == 0:
            continue
        noise = np.empty(units * PROBES, np.float32)
        stream.normal(noise)
        signs = np.where(noise < 0, np.float32(-1), np.float32(1)).reshape(units, PROBES)
        mixed = matrix @ (matrix.conj().T @ signs) / size**2
        ranks.append(PROBES / float(np.linalg.norm(mixed)) ** 2)
        if len(ranks) == 64:  # groups by the thousand are alike
            break
    rank = sum(ranks) / len(ranks) if ranks else math.nan
    return rank, sum(fulls) / len(fulls) if fulls else math.nan


def all_identical(values: Values, layout: Layout) -> bool:
    """Return whether all units of a weight are the same: then they stay so."""
    count = math.prod(layout.grid[axis] for axis in layout.out)
    if not values.size or not layout.out or count < 2:
        return False
    axes = tuple(range(len(layout.out)))
    units = np.moveaxis(values.reshape(layout.grid), layout.out, axes).reshape(count, -1)
    return bool((units == units[:1]).all())


def share_of_twins(values: Values, layout: Layout) -> float:
    """Return the share of units, in any matrix of a weight, whose weights another unit has too."""
    stack, out, in_, taps = layout.maps_shape
    if out < 2 or in_ * taps * _digits(values) < BITS:
        return 0.0
    twins = 0
    for matrix in maps(values, layout):
        group, sizes = _groups(in_reals(matrix))
        twins += int((sizes[group] > 1).sum())
    return twins / (stack * out)


def agreeing(values: Values, gradient: Values, layout: Layout) -> float:
    """Return the share of units that another unit equals, in its weights and in its gradient.

    Args:
        values: the weight.
        gradient: the loss's gradient by it.
        layout: of the weight.
    """
    same = total = 0
    tolerance = max(ROUNDING, 8 * 2.0 ** (1 - _digits(gradient)))
    for weights, slopes in zip(maps(values, layout), maps(gradient, layout), strict=True):
        weights, slopes = in_reals(weights), in_reals(slopes)
        total += len(weights)
        group = _groups(weights)[0]
        sizes = np.linalg.norm(slopes, axis=1)
        mixed = slopes @ np.sin(np.linspace(1, 2, slopes.shape[1]))
        order = np.lexsort((mixed, group))
        first, second = order[:-1], order[1:]
        apart = np.linalg.norm(slopes[first] - slopes[second], axis=1)
        close = apart <= tolerance * np.maximum(sizes[first], sizes[second])
        close &= group[first] == group[second]
        paired = np.zeros(len(weights), bool)
        paired[first[close]] = paired[second[close]] = True
        same += int(paired.sum())
    return same / max(total, 1)


def equal_groups(values: Mapping[str, Values], names: Sequence[str]) -> list[list[str]]:
    """Return those of some parameters that are equal and random, in groups."""
    found: list[tuple[Values, list[str]]] = []
    for name in names:
        array = values[name]
        alike = (g for one, g in found if one.dtype == array.dtype and np.array_equal(one, array))
        same = next(alike, None)
        if same is None:
            found.append((array, [name]))
        else:
            same.append(name)
    return [group for one, group in found if len(group) > 1 and _is_random(one)]


def _is_random(values: Values) -> bool:
    exact = values.dtype.itemsize > 2
    return look(in_reals(values).astype(np.float32), exact=exact).kind == "random"


def step_of(gradients: Mapping[str, Array], values: Mapping[str, Values], optimizer: str) -> Any:
    """Return what the first step of an optimizer takes from each parameter, a small one, by name."""
    rate = STEP
    if optimizer == "sgd":
        slopes = sum(_square(gradient) for gradient in gradients.values())
        moved = [values[name] for name in gradients]
        sizes = sum(map(_square, moved)) or sum(array.size for array in moved)  # of unit size
        rate *= (sizes / slopes) ** 0.5 if slopes else 0.0
    found = {}
    for name, gradient in gradients.items():
        step = np.asarray(gradient, np.result_type(gradient, np.float32))
        size = math.sqrt(_square(step) / max(step.size, 1))
        step = np.where(np.abs(step) < ROUNDING * size, 0, step)  # signs of rounding errors
        found[name] = rate * (step / (np.abs(step) + EPSILON) if optimizer == "adam" else step)
    return found


def _square(values: Values) -> float:
    return float(np.square(np.abs(np.asarray(values, np.result_type(values, np.float64)))).sum())


def _groups(rows: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each row which of the different rows it is, and how many rows each of these is."""
    rows = rows + 0.0  # no minus zero, which would be another row by its bytes
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
    _, group, sizes = np.unique(whole.reshape(-1), return_inverse=True, return_counts=True)
    return group.reshape(-1), sizes


def _digits(values: Values) -> float:
    """Return how many binary digits a number of an array's type has."""
    kind = values.real.dtype if np.iscomplexobj(values) else values.dtype
    one, digits = np.ones((), kind), 1
    while digits < 64 and one + np.asarray(2.0**-digits, kind) != one:
        digits += 1
    return digits
