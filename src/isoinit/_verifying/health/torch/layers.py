"""What one layer's output and its gradient look like: a few numbers, taken as they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from isoinit._reading.torch.numbers import doubled, in_reals, rows_of, shape_of
from isoinit._verifying.health.behind import Ranges
from isoinit._verifying.health.behind import dead_and_saturated as dead_and_saturated
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.steps import ROWS, VALUES, places

FEW = 8  # rows that tell most columns apart


@dataclass
class Probe:
    """Takes a layer's numbers from its output, and then from the gradient that comes back to it.

    Attributes:
        layer: what is written into.
        axis: of the units; None for one unit, whose output has no such axis.
    """

    layer: LayerHealth
    axis: int | None
    _alike: torch.Tensor | None = field(default=None, repr=False)

    def forward(self, output: torch.Tensor) -> None:
        """Measure the output, and wait for its gradient."""
        layer = self.layer
        layer.elements = output.numel()
        signal = self._signal(output)
        layer.units = shape_of(output)[self.axis] if self.axis is not None and output.dim() else 1
        layer.mean, layer.std, layer.rms, layer.largest = moments(signal)
        if signal.dim() > 1 and len(signal) > 1 and math.isfinite(layer.rms):
            layer.spread, layer.correlation = _between(signal, layer.rms)
        rows = _some_rows(signal, -1 if self.axis is None else self.axis)
        layer.rank = participation(rows - rows.mean(0))
        self._alike = _same_columns(rows)
        if output.requires_grad:
            output.register_hook(self.backward)

    def backward(self, gradient: torch.Tensor | None) -> None:
        """Measure the gradient, if the operations behind have one."""
        if gradient is None:
            return
        layer = self.layer
        signal = self._signal(gradient)
        came = moments(signal)
        layer.gradient_mean, layer.gradient_std, layer.gradient, layer.gradient_largest = came
        if self._alike is not None:
            same = _same_columns(_some_rows(signal, -1 if self.axis is None else self.axis))
            layer.twins = 0.0 if same is None else _share_of_twins(self._alike, same)
        self._alike = None

    def _signal(self, tensor: torch.Tensor) -> torch.Tensor:
        """Real numbers, with an axis of units."""
        if self.axis is None:
            return in_reals(tensor.detach().unsqueeze(-1))
        return in_reals(tensor.detach(), self.axis)


def moments(tensor: torch.Tensor) -> tuple[float, float, float, float]:
    """Mean, standard deviation, root mean square and largest absolute value."""
    if not tensor.numel():
        return 0.0, 0.0, 0.0, 0.0
    low, high = torch.aminmax(tensor)
    least, most = low.item(), high.item()
    largest = max(-least, most) if least == least else math.nan
    if least == most:
        return most, 0.0, largest, largest
    if not math.isfinite(largest):
        return math.nan, math.nan, largest, largest
    scale = largest if largest > 1e15 or 0 < largest < 1e-15 else 1.0  # squares within float32
    values = tensor.float() if scale == 1.0 else doubled(tensor) / scale
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
    if not tensor.numel():
        return False
    values = tensor.detach()
    some = values[tuple(size // 2 for size in values.shape[:-1])]
    return not bool(some.any()) and not bool(values.any())


def _between(signal: torch.Tensor, rms: float) -> tuple[float, float]:
    """The root mean square difference of examples, and the correlation of two of them."""
    count = len(signal)
    scale = 1.0 if not rms or 1e-15 < rms < 1e15 else rms  # squares within float32
    values = signal.float() if scale == 1.0 else doubled(signal) / scale
    spread = torch.linalg.vector_norm(values - values.mean(0)).item() / math.sqrt(signal.numel())
    if rms == 0:
        return spread, math.nan
    return spread * scale, 1 - (spread * scale / rms) ** 2 * count / (count - 1)


def _some_rows(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """At most `ROWS` places of a tensor, at equal steps, as rows of units."""
    if tensor.dim() < 2:
        return tensor.reshape(1, -1).float()
    units = tensor.movedim(axis, -1)
    sizes = units.shape[:-1]
    total = math.prod(sizes)
    if total <= ROWS:
        return units.reshape(total, units.shape[-1]).float()
    if units.is_contiguous():  # one run of memory a row
        at = torch.tensor(places(total), device=tensor.device)
        return units.view(total, -1).index_select(0, at).float()
    index = np.unravel_index(places(total), sizes)
    where = [torch.from_numpy(i).to(tensor.device) for i in index]
    return units[tuple(where)].float()


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


def _same_columns(rows: torch.Tensor) -> torch.Tensor | None:
    """For each column the first one that holds the same, but for rounding; -1 for one of its own.

    None where each column is one of its own.
    """
    count = rows.shape[1]
    if count < 2:
        return None
    low, high = torch.aminmax(rows)
    least, most = low.item(), high.item()
    if not (math.isfinite(least) and math.isfinite(most)):
        return None
    if least == most:
        return torch.zeros(count, dtype=torch.int64, device=rows.device)
    weights = torch.linspace(1.0, 2.0, len(rows), dtype=rows.dtype, device=rows.device).sin()
    order = (weights @ rows).argsort()
    limit = 1e-5 * torch.maximum(-low, high)
    # Neighbours that differ in one of a few rows are not the same: most do, and need no second look.
    few = rows[:: -(-len(rows) // FEW)][:, order]
    at = (few.diff().abs().amax(0) <= limit).nonzero().flatten()
    if len(at):
        at = at[(rows[:, order[at]] - rows[:, order[at + 1]]).abs().amax(0) <= limit]
    if not len(at):
        return None
    near = torch.zeros(count, dtype=torch.bool, device=rows.device)
    near[at + 1] = True
    group = order[torch.where(near, 0, torch.arange(count, device=rows.device)).cummax(0).values]
    found = torch.empty_like(order)
    found[order] = group
    alone = torch.bincount(group, minlength=count)[group] == 1
    found[order[alone]] = -1
    return found


def _share_of_twins(outputs: torch.Tensor, gradients: torch.Tensor) -> float:
    """The share of units that are in one group both by output and by gradient."""
    both = torch.where((outputs >= 0) & (gradients >= 0), outputs * len(outputs) + gradients, -1)
    values, counts = both[both >= 0].unique(return_counts=True)
    return float(counts[counts > 1].sum().item() / len(outputs)) if len(values) else 0.0


def ranges(output: torch.Tensor, axis: int | None) -> Ranges:
    """What is to be kept of a value."""
    signal = rows_of(output.detach() if axis is not None else output.detach().unsqueeze(-1))
    if signal.dim() < 2:
        low = high = signal.reshape(-1)
    else:
        lows, highs = signal, signal
        if axis == 1 and signal.dim() > 2:  # along the memory first: no copy of channels last
            lows, highs = signal.flatten(2).amin(2), signal.flatten(2).amax(2)  # a vector at a time
        low, high = lows.flatten(0, -2).amin(0), highs.flatten(0, -2).amax(0)
    some = signal.flatten()[:: max(1, signal.numel() // VALUES)]
    kept = (part.cpu().double().numpy() for part in (low, high, some))
    return Ranges(*kept)
