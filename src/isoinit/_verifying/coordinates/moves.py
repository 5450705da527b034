"""How far training moves a layer's output at each width, and the slope of that by width."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isoinit._showing.folding import kinds
from isoinit._verifying.coordinates.trials import Moved, Trial

BOUNDED = ("scores", "output")  # may fall with the width at the start: an upper bound alone


@dataclass(frozen=True)
class Layer:
    """How far training moves one layer's output, at each width.

    Attributes:
        name: the weight's name, without a final ".weight"; of attention scores "h.0.attn scores"; of
            what the model returns and no layer makes "output".
        kind: "input" (a table, or a layer whose fan-in is the same at all widths), "hidden", "output"
            (of one size at all widths) or "scores".
        widths: of the models.
        changes: the root mean square of the change since the start, by step (from 1), then by width,
            then by seed; divided by the gauge of the output. NaN where the training diverged.
    """

    name: str
    kind: str
    widths: tuple[int, ...]
    changes: tuple[tuple[tuple[float, ...], ...], ...]

    def by_width(self, step: int) -> list[float]:
        """The change after a step, the mean over the seeds, for each width."""
        return [statistics.fmean(seeds) for seeds in self.changes[step - 1]]

    def slope(self, step: int) -> float:
        """The slope of log2 of the change by log2 of the width, by least squares.

        NaN where a change is zero or not finite.
        """
        return _slope(self.widths, self.by_width(step))

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with the slopes."""
        slopes = [self.slope(step + 1) for step in range(len(self.changes))]
        return {**asdict(self), "slopes": slopes}


@dataclass(frozen=True)
class Kind:
    """Layers whose names differ in numbers alone, and which the width means the same to.

    Attributes:
        name: that of all of them: "h.0…11.mlp.c_fc".
        kind: as of a `Layer`.
        layers: the layers.
    """

    name: str
    kind: str
    layers: tuple[Layer, ...]

    def slopes(self, step: int) -> dict[str, float]:
        """The slope of each layer that has one, by name."""
        slopes = {layer.name: layer.slope(step) for layer in self.layers}
        return {name: slope for name, slope in slopes.items() if not math.isnan(slope)}

    def slope(self, step: int) -> float:
        """The mean slope of the layers, that of the mean of their logarithms; NaN without any."""
        slopes = self.slopes(step).values()
        return statistics.fmean(slopes) if slopes else math.nan

    def by_width(self, step: int) -> list[float]:
        """The geometric mean of the changes of the layers, for each width."""
        by_width = zip(*(layer.by_width(step) for layer in self.layers), strict=True)
        return [_geometric(changes) for changes in by_width]

    def range_at(self, step: int, end: Callable[[Sequence[float]], float]) -> list[float]:
        """The least or the largest change among layers and seeds, for each width."""
        rows = zip(*(layer.changes[step - 1] for layer in self.layers), strict=True)
        return [end([x for seeds in row for x in seeds]) for row in rows]


def kinds_of(layers: Sequence[Layer]) -> list[Kind]:
    """Return layers put together by kind, in the order of their first."""
    found = kinds(layers, lambda layer: layer.name, lambda layer: layer.kind)
    return [Kind(each.name, each.items[0].kind, tuple(each.items)) for each in found]


def gathered(
    trials: Sequence[Trial], gauge: Callable[[int, str], float]
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Return the layers that all trainings share, and the names of the others.

    Args:
        trials: width by width, the seeds of each in one order.
        gauge: of what a weight makes, by width and parameter.
    """
    widths = tuple(dict.fromkeys(trial.width for trial in trials))
    every = dict.fromkeys(name for t in trials for name in (*t.moved, *t.reshaped))
    shared = [name for name in every if all(name in trial.moved for trial in trials)]
    of_width = {width: [t for t in trials if t.width == width] for width in widths}
    layers = [_layer(name, of_width, gauge) for name in shared]
    return tuple(layers), tuple(name for name in every if name not in set(shared))


def _layer(
    name: str, of_width: dict[int, list[Trial]], gauge: Callable[[int, str], float]
) -> Layer:
    """What came of one layer."""
    steps = len(next(iter(of_width.values()))[0].moved[name].changes)
    sizes = [trials[0].moved[name] for trials in of_width.values()]
    gauges = {w: gauge(w, one.parameter) for w, one in zip(of_width, sizes, strict=True)}
    changes = tuple(
        tuple(
            tuple(trial.moved[name].changes[step] / gauges[width] for trial in trials)
            for width, trials in of_width.items()
        )
        for step in range(steps)
    )
    return Layer(name, _kind(sizes), tuple(of_width), changes)


def _kind(by_width: Sequence[Moved]) -> str:
    """What a layer is to the width."""
    first = by_width[0]
    if first.part != "layer":
        return first.part
    if len({moved.terms for moved in by_width}) == 1:
        return "input"
    return "output" if len({moved.size for moved in by_width}) == 1 else "hidden"


def _slope(widths: Sequence[int], changes: Sequence[float]) -> float:
    if not all(0 < change < math.inf for change in changes):
        return math.nan
    slope, _ = statistics.linear_regression(
        [math.log2(width) for width in widths], [math.log2(change) for change in changes]
    )
    return slope


def _geometric(values: Sequence[float]) -> float:
    """The geometric mean; NaN where a value has no logarithm."""
    if not all(0 < value < math.inf for value in values):
        return 0.0 if not any(values) else math.nan
    return math.exp(statistics.fmean(map(math.log, values)))
