"""Parameters of which a model uses a line: 1 + w for a gain, c·w for a weight."""

from __future__ import annotations

import numpy as np

from isoinit._reading.graph import Graph, ReplayError, Use

POINTS = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])


def line(use: Use) -> tuple[float, float] | None:
    """Return slope and intercept of what is used as a function of the parameter's elements.

    Returns:
        (1, 0) for the parameter itself; None where it is no line, or made with other parameters.
    """
    if use.made is None:
        return None if use.through else (1.0, 0.0)
    if use.made.function is None or len(use.made.parts) != 1:
        return None
    try:
        made = np.ravel(np.asarray(use.made.function(POINTS), np.float64))
    except (ReplayError, ValueError):  # of NumPy, for shapes that do not go together
        return None
    if made.size != POINTS.size:
        return None
    slope = float(made[3] - made[2])
    if slope == 0 or not np.allclose(made, made[2] + slope * POINTS, rtol=1e-9, atol=1e-12):
        return None
    return slope, float(made[2])


def shift(graph: Graph, name: str) -> float:
    """Return what is added to a parameter, in its own size, before it is used: 1 for 1 + w; else 0."""
    return next((found for found in shifts(graph, name) if found), 0.0)


def shifts(graph: Graph, name: str) -> set[float]:
    """Return the same for every use of a parameter: 0 and -1 where w and 1 - w are used."""
    lines = (line(use) for _, use in graph.uses_of(name))
    return {found[1] / found[0] for found in lines if found is not None}
