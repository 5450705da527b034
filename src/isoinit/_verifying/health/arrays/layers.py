"""What one layer's output and its gradient look like, as NumPy arrays: `torch/layers` in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.graph import Array
from isoinit._verifying.health.behind import Ranges
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.steps import ROWS, VALUES, places

Any_ = npt.NDArray[Any]
Groups = npt.NDArray[np.int64]


def in_reals(array: Any_, axis: int = -1) -> Array:
    """Return an array as float64 of the same root mean square.

    Of complex numbers z the real and the imaginary parts, times sqrt(2), stand one behind the other
    along an axis.
    """
    if np.iscomplexobj(array):
        parts = [array.real, array.imag]
        whole = np.concatenate(parts, axis) if array.ndim else np.stack(parts)
        return np.asarray(whole * math.sqrt(2), np.float64)
    return np.asarray(array, np.float64)


def measure_output(layer: LayerHealth, output: Any_, axis: int) -> Groups:
    """Write down what an output looks like.

    Args:
        layer: what is written into.
        output: of the layer, with examples along the first axis.
        axis: the axis of the units.

    Returns:
        For each unit the first one that gives the same: see `measure_gradient`.
    """
    layer.elements = output.size
    layer.units = output.shape[axis] if output.ndim else 1
    signal = in_reals(output, axis)
    layer.mean, layer.std, layer.rms, layer.largest = moments(signal)
    if signal.ndim > 1 and len(signal) > 1 and math.isfinite(layer.rms):
        layer.spread, layer.correlation = _between(signal, layer.rms)
    rows = some_rows(signal, axis)
    layer.rank = participation(rows - rows.mean(0))
    return same_columns(rows)


def measure_gradient(layer: LayerHealth, gradient: Any_, axis: int, alike: Groups) -> None:
    """Write down what the gradient by an output looks like.

    Args:
        layer: what is written into.
        gradient: of the shape of the output.
        axis: the axis of the units.
        alike: what `measure_output` returned.
    """
    signal = in_reals(gradient, axis)
    came = moments(signal)
    layer.gradient_mean, layer.gradient_std, layer.gradient, layer.gradient_largest = came
    if (alike >= 0).any():
        layer.twins = _share_of_twins(alike, same_columns(some_rows(signal, axis)))


def moments(values: Array) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, root mean square and largest absolute value."""
    if not values.size:
        return 0.0, 0.0, 0.0, 0.0
    least, most = float(values.min()) + 0.0, float(values.max()) + 0.0  # no minus zero
    largest = max(most, -least) if least == least else math.nan
    if least == most:
        return most, 0.0, largest, largest
    if not math.isfinite(largest):
        return math.nan, math.nan, largest, largest
    scale = largest if largest > 1e150 or 0 < largest < 1e-150 else 1.0  # squares within float64
    values = values / scale if scale != 1.0 else values
    mean = float(values.mean())
    square = float(np.square(values).mean())
    # Of the values less their mean: the difference of two squares is no more than rounding where
    # all values are nearly the same.
    std = float(np.sqrt(np.square(values - mean).mean()))
    return mean * scale, std * scale, math.sqrt(square) * scale, largest


def _between(signal: Array, rms: float) -> tuple[float, float]:
    """Return the root mean square difference of examples, and the correlation of two of them."""
    count, scale = len(signal), rms or 1.0
    values = signal / scale
    spread = math.sqrt(float(np.square(values - values.mean(0)).mean()))
    if rms == 0:
        return spread, math.nan
    return spread * scale, 1 - spread**2 * count / (count - 1)


def some_rows(signal: Array, axis: int) -> Array:
    """Return at most `ROWS` places of an array, at equal steps, as rows of units."""
    if signal.ndim < 2:
        return signal.reshape(1, -1)
    units = np.moveaxis(signal, axis, -1)
    sizes = units.shape[:-1]
    total = math.prod(sizes)
    if total <= ROWS:
        return units.reshape(total, units.shape[-1])
    rows: Array = units[np.unravel_index(places(total), sizes)]
    return rows


def participation(rows: Array) -> float:
    """Return the participation ratio of the squared singular values of a matrix: its effective rank.

    (Σσ²)²/Σσ⁴, from the trace of the smaller Gram matrix and its square.
    """
    size = float(np.linalg.norm(rows)) if rows.size else 0.0
    if not math.isfinite(size) or size == 0:
        return math.nan
    rows = rows / size
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    return float(1 / np.linalg.norm(gram) ** 2)


def same_columns(rows: Array) -> Groups:
    """Return for each column the first that holds the same, but for rounding; -1 if none does."""
    count = rows.shape[1]
    found = np.full(count, -1, np.int64)
    if count < 2 or not np.isfinite(rows).all():
        return found
    order = (np.sin(np.linspace(1.0, 2.0, len(rows))) @ rows).argsort()
    first, second = rows[:, order[:-1]], rows[:, order[1:]]
    near = np.zeros(count, bool)
    near[1:] = np.abs(first - second).max(0) <= 1e-5 * np.abs(rows).max()
    group = order[np.maximum.accumulate(np.where(near, 0, np.arange(count)))]
    found[order] = group
    found[order[np.bincount(group, minlength=count)[group] == 1]] = -1
    return found


def _share_of_twins(outputs: Groups, gradients: Groups) -> float:
    """Return the share of units that are in one group both by output and by gradient."""
    both = np.where((outputs >= 0) & (gradients >= 0), outputs * len(outputs) + gradients, -1)
    counts = np.unique(both[both >= 0], return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(outputs)) if len(outputs) else 0.0


def ranges(output: Any_, axis: int) -> Ranges:
    """Return what is to be kept of a value, to judge the function behind it."""
    signal = np.asarray(output, np.float64)
    some = signal.reshape(-1)[:: max(1, signal.size // VALUES)]
    if signal.ndim < 2:
        return Ranges(signal.reshape(-1), signal.reshape(-1), some)
    units = np.moveaxis(signal, axis, -1).reshape(-1, signal.shape[axis])
    return Ranges(units.min(0), units.max(0), some)
