"""What the function behind a layer makes of its output: which units it leaves dead or saturated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoinit._reading.activation import GRID
from isoinit._reading.graph import STATISTICS, Array, Graph
from isoinit._reading.pointwise import following

FLAT = 0.01  # of an activation's steepest slope: nothing passes where the slope is below
HALVINGS = 20  # of an interval that may hold a jump
SATURATED = 0.05  # tanh beyond ±2.2, the sigmoid beyond ±4.4: a fifth of the unit's range is left
STEPS = 4096
FINEST = 2.0**-30  # of the reach: ranges that are narrower are points, for sums of rises round


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


def activation_behind(graph: Graph, value: int) -> tuple[int, Callable[[Array], Array]] | None:
    """The activation behind a layer, and the value that it works on: the layer's, or a norm's."""
    way = following(graph, value)
    if not way.names or (way.end is not None and way.end.name in STATISTICS):
        return None  # a square whose mean a norm layer takes is no activation
    if way.norm:
        norm = next((i for i in sorted(graph.norms) if graph.depends(graph.norms[i], value)), None)
        return None if norm is None else (graph.ops[norm].outputs[0], way.function)
    return value, way.function


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
    finest = reach * FINEST
    lows, highs = (np.round(ends / finest) * finest for ends in (kept.low, kept.high))
    at = np.unique(np.concatenate([np.linspace(-reach, reach, STEPS), lows, highs, GRID]))
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
    low, high = np.searchsorted(at, lows), np.searchsorted(at, highs)
    width = highs - lows
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
