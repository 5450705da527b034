"""What one layer's output and its gradient look like: a few numbers, taken as they are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from isoinit._reading.activation import GRID
from isoinit._reading.graph import Array
from isoinit._reading.torch.numbers import in_reals, rows_of, shape_of

T = TypeVar("T")

ROWS = 256  # of an output, to tell how many directions its examples take
VALUES = 4096  # of an output, to tell how many are saturated
FLAT = 0.01  # of an activation's steepest slope: nothing passes where the slope is below
HALVINGS = 20  # of an interval that may hold a jump
SATURATED = 0.05  # tanh beyond ±2.2, the sigmoid beyond ±4.4: a fifth of the unit's range is left
STEPS = 4096


@dataclass
class LayerHealth:
    """The signal at the output of one layer, before the activation behind it.

    Attributes:
        name: the weight's name, without a final ".weight".
        value: which value of the graph was measured.
        mean, std, rms, largest: of the output, over the batch and all units; the last in absolute
            value.
        spread: how much an output differs between examples: the root mean square over units of the
            standard deviation along the first axis. What is the same for every example (the work
            of biases) carries nothing; NaN for a batch of one.
        correlation: of the outputs of two different examples, on average: their product by their
            mean square; 1 where all are the same, NaN for a batch of one.
        units: how many outputs there are at one place.
        elements: how many there are in all, over the batch and its places.
        rank: how many directions the outputs take, their mean left out: the participation ratio
            (Σλ)²/Σλ² of the covariance's eigenvalues λ, over at most 256 places of the batch.
        dead: share of the units whose activation is flat over all of the batch, as a ReLU is where
            it is never active; NaN where no activation follows.
        saturated: share of the values in a flat part of an activation that is bounded on both
            sides, such as tanh; NaN behind others.
        twins: share of the units that have a twin: the same output and the same gradient at every
            place that was looked at.
        gradient: root mean square of the loss's gradient by the output; NaN where none came back.
        gradient_mean, gradient_std, gradient_largest: the rest of it.
        expected: the root mean square that a plan expects; None without a plan that does.
    """

    name: str
    value: int
    mean: float = math.nan
    std: float = math.nan
    rms: float = math.nan
    largest: float = math.nan
    spread: float = math.nan
    correlation: float = math.nan
    units: int = 0
    elements: int = 0
    rank: float = math.nan
    dead: float = math.nan
    saturated: float = math.nan
    twins: float = 0.0
    gradient: float = math.nan
    gradient_mean: float = math.nan
    gradient_std: float = math.nan
    gradient_largest: float = math.nan
    expected: float | None = None


def forward_signal(layers: Sequence[LayerHealth]) -> list[float | None]:
    """Return the signal by depth: how much each layer's output differs between examples.

    Of a batch of one the size of the output stands for it. None where it is not known.
    """
    return [known(x.rms if math.isnan(x.spread) else x.spread) for x in layers]


def backward_signal(layers: Sequence[LayerHealth]) -> list[float | None]:
    """Return the size of the gradient at each layer's output; None where none came back."""
    return [known(layer.gradient) for layer in layers]


def known(value: T) -> T | None:
    """Return what was measured; None for what was not, which is NaN."""
    return None if value != value else value


@dataclass
class Ranges:
    """What is kept of a value to judge the function behind it once the run is over.

    Attributes:
        low, high: the smallest and the largest value of each unit.
        some: some of the values.
    """

    low: Array
    high: Array
    some: Array


@dataclass
class Probe:
    """Takes a layer's numbers from its output, and then from the gradient that comes back to it."""

    layer: LayerHealth
    axis: int
    _alike: torch.Tensor | None = field(default=None, repr=False)

    def forward(self, output: torch.Tensor) -> None:
        """Measure the output, and wait for its gradient."""
        layer = self.layer
        layer.elements = output.numel()
        layer.units = shape_of(output)[self.axis] if output.dim() else 1
        signal = in_reals(output.detach(), self.axis)
        layer.mean, layer.std, layer.rms, layer.largest = moments(signal)
        if signal.dim() > 1 and len(signal) > 1 and math.isfinite(layer.rms):
            layer.spread, layer.correlation = _between(signal, layer.rms)
        rows = _some_rows(signal, self.axis)
        layer.rank = participation(rows - rows.mean(0))
        self._alike = _same_columns(rows)
        if output.requires_grad:
            output.register_hook(self.backward)

    def backward(self, gradient: torch.Tensor | None) -> None:
        """Measure the gradient, if the operations behind have one."""
        if gradient is None:
            return
        layer = self.layer
        signal = in_reals(gradient.detach(), self.axis)
        came = moments(signal)
        layer.gradient_mean, layer.gradient_std, layer.gradient, layer.gradient_largest = came
        if self._alike is not None and bool((self._alike >= 0).any()):
            same = _same_columns(_some_rows(signal, self.axis))
            layer.twins = _share_of_twins(self._alike, same)
        self._alike = None


def moments(tensor: torch.Tensor) -> tuple[float, float, float, float]:
    """Mean, standard deviation, root mean square and largest absolute value."""
    if not tensor.numel():
        return 0.0, 0.0, 0.0, 0.0
    least, most = torch.aminmax(tensor)
    largest = max(-least.item(), most.item()) if least.item() == least.item() else math.nan
    if least.item() == most.item():
        return most.item(), 0.0, largest, largest
    if not math.isfinite(largest):
        return math.nan, math.nan, largest, largest
    scale = largest if largest > 1e15 or 0 < largest < 1e-15 else 1.0  # squares within float32
    values = tensor.float() if scale == 1.0 else tensor.double() / scale
    mean = values.mean().item()
    square = torch.linalg.vector_norm(values).item() ** 2 / tensor.numel()
    std = math.sqrt(max(square - mean**2, 0.0))
    return mean * scale, std * scale, math.sqrt(square) * scale, largest


def is_zero(tensor: torch.Tensor) -> bool:
    """Whether all elements are zero; most tensors tell by one row of them that they are not.

    Not asked of sparse and nested tensors, whose zeros are no numbers.
    """
    if tensor.layout is not torch.strided or tensor.is_nested:
        return False
    some = tensor.detach()
    while some.dim() > 1 and len(some):
        some = some[len(some) // 2]
    return tensor.numel() > 0 and not bool(some.any()) and not bool(tensor.detach().any())


def _between(signal: torch.Tensor, rms: float) -> tuple[float, float]:
    """The spread between examples, and the correlation of two of them."""
    count = len(signal)
    scale = 1.0 if not rms or 1e-15 < rms < 1e15 else rms  # squares within float32
    values = signal.float() if scale == 1.0 else signal.double() / scale
    spread = torch.linalg.vector_norm(values - values.mean(0)).item() / math.sqrt(signal.numel())
    if rms == 0:
        return spread, math.nan
    return spread * scale, 1 - (spread * scale / rms) ** 2 * count / (count - 1)


def _some_rows(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """At most `ROWS` places of a tensor, spread over it, as rows of units."""
    if tensor.dim() < 2:
        return tensor.reshape(1, -1).float()
    places = tensor.movedim(axis, -1)
    sizes = places.shape[:-1]
    total = math.prod(sizes)
    if total <= ROWS:
        return places.reshape(total, places.shape[-1]).float()
    golden = (math.sqrt(5) - 1) / 2  # no period of the batch's axes falls in with its multiples
    chosen = np.unique((np.arange(1, ROWS + 1) * golden % 1.0 * total).astype(np.int64))
    index = np.unravel_index(chosen, sizes)
    where = [torch.from_numpy(i).to(tensor.device) for i in index]
    return places[tuple(where)].float()


def participation(rows: torch.Tensor) -> float:
    """The participation ratio of the squared singular values of a matrix: its effective rank.

    (Σσ²)²/Σσ⁴, from the trace of the smaller Gram matrix and its square: n for n equal singular
    values, 1 for a single one.
    """
    size = torch.linalg.vector_norm(rows).item() if rows.numel() else 0.0
    if not math.isfinite(size) or size == 0:
        return math.nan
    rows = rows / size
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    return float(1 / torch.linalg.vector_norm(gram).item() ** 2)


def _same_columns(rows: torch.Tensor) -> torch.Tensor:
    """For each column the first one that holds the same, but for rounding; -1 for one of its own."""
    count = rows.shape[1]
    found = torch.full((count,), -1, device=rows.device)
    if count < 2 or not bool(torch.isfinite(rows).all()):
        return found
    weights = torch.linspace(1.0, 2.0, len(rows), dtype=rows.dtype, device=rows.device).sin()
    mixed = weights @ rows
    order = mixed.argsort()
    first, second = rows[:, order[:-1]], rows[:, order[1:]]
    close = (first - second).abs().amax(0) <= 1e-5 * rows.abs().amax()
    near = torch.zeros(count, dtype=torch.bool, device=rows.device)
    near[1:] = close
    group = order[torch.where(near, 0, torch.arange(count, device=rows.device)).cummax(0).values]
    found[order] = group
    alone = torch.bincount(group, minlength=count)[group] == 1
    found[order[alone]] = -1
    return found


def _share_of_twins(outputs: torch.Tensor, gradients: torch.Tensor) -> float:
    """The share of units that are in one group both by output and by gradient."""
    both = torch.where((outputs >= 0) & (gradients >= 0), outputs * len(outputs) + gradients, -1)
    values, counts = both[both >= 0].unique(return_counts=True)
    return float(counts[counts > 1].sum().item() / len(outputs)) if len(values) else 0.0


def ranges(output: torch.Tensor, axis: int) -> Ranges:
    """What is to be kept of a value."""
    signal = rows_of(output.detach())
    if signal.dim() < 2:
        low = high = signal.reshape(-1)
    else:
        lows, highs = signal, signal
        if axis == 1 and signal.dim() > 2:  # along the memory first: no copy of channels last
            lows, highs = torch.aminmax(signal.flatten(2), dim=2)
        low, high = lows.flatten(0, -2).amin(0), highs.flatten(0, -2).amax(0)
    some = signal.flatten()[:: max(1, signal.numel() // VALUES)]
    kept = (part.double().cpu().numpy() for part in (low, high, some))
    return Ranges(*kept)


def _jumps(function: Callable[[Array], Array], at: Array, values: Array) -> npt.NDArray[np.bool_]:
    """Return between which of these points a function jumps: halving does not lessen the rise."""
    rises = np.abs(np.diff(values))
    slopes = np.concatenate([[0.0], rises / np.diff(at), [0.0]])
    found: npt.NDArray[np.bool_] = slopes[1:-1] > 4 * np.maximum(
        slopes[:-2], slopes[2:]
    )  # nothing else is looked at
    if not found.any():
        return found
    ends, heights = (
        np.stack([at[:-1], at[1:]])[:, found],
        np.stack([values[:-1], values[1:]])[:, found],
    )
    for _ in range(HALVINGS):
        middle = ends.mean(0)
        height = np.asarray(function(middle), np.float64)
        left = np.abs(height - heights[0]) > np.abs(heights[1] - height)
        ends = np.where(left, [ends[0], middle], [middle, ends[1]])
        heights = np.where(left, [heights[0], height], [height, heights[1]])
    found[found] = np.abs(heights[1] - heights[0]) > rises[found] / 2
    return found


def dead_and_saturated(kept: Ranges, function: Callable[[Array], Array]) -> tuple[float, float]:
    """The share of dead units and of saturated values behind a function.

    A unit is dead if the function varies over its range by less than `FLAT` of what its steepest
    slope would give, of those where units are: no gradient passes for any example. Values are
    saturated where the slope is below `SATURATED` of that, of functions that are flat on both sides.
    Jumps pass no gradient.
    """
    edges = np.concatenate([kept.low, kept.high])
    if not edges.size or not np.isfinite(edges).all():
        return math.nan, math.nan
    reach = max(abs(edges).max(), -GRID[0])
    at = np.union1d(np.linspace(-reach, reach, STEPS), edges)
    at = np.union1d(at, GRID)
    try:
        values = np.asarray(function(at), np.float64)
    except Exception:  # a function that takes signals of one length alone
        return math.nan, math.nan
    rises, jumps = np.abs(np.diff(values)), _jumps(function, at, values)
    if rises[~jumps].any():  # a step is nothing but jumps, and all behind it is dead
        rises[jumps] = 0.0
    slopes = rises / np.diff(at)
    # Where signals are: exp is a thousand times steeper where none comes.
    least, most = min(kept.low.min(), -1.0), max(kept.high.max(), 1.0)
    steepest = slopes[(at[:-1] >= least) & (at[1:] <= most)].max()
    steepest = steepest or slopes[(at[:-1] >= GRID[0]) & (at[1:] <= GRID[-1])].max()
    if values.shape != at.shape or not np.isfinite(slopes).all() or steepest == 0:
        return math.nan, math.nan
    way = np.concatenate([[0.0], rises.cumsum()])
    low, high = np.searchsorted(at, kept.low), np.searchsorted(at, kept.high)
    width = kept.high - kept.low
    moved = np.where(width > 0, way[high] - way[low], 0.0)
    slope_at = np.maximum(slopes[np.minimum(low, len(slopes) - 1)], slopes[np.maximum(low - 1, 0)])
    flat = np.where(width > 0, moved <= FLAT * steepest * width, slope_at <= FLAT * steepest)
    ends = np.abs(function(np.array([-60.0, -50.0, 50.0, 60.0])))
    bounded = abs(ends[1] - ends[0]) < FLAT * steepest and abs(ends[3] - ends[2]) < FLAT * steepest
    saturated = math.nan
    if bounded:
        slope = np.interp(kept.some, (at[1:] + at[:-1]) / 2, slopes)
        saturated = float((slope <= SATURATED * steepest).mean())
    return float(flat.mean()), saturated
