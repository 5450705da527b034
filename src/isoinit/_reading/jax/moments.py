"""The moments of an example's arrays, whatever type they have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isoinit._reading.graph import Given
from isoinit._reading.moments import moments


def moments_of(leaf: Any, units: int = -1) -> Given | None:
    """Return the moments of an array; None if it has no values here.

    Args:
        leaf: its first axis is that of the examples.
        units: the axis along which its units lie. The other axes are those of places.
    """
    if not hasattr(leaf, "__array__") or not math.prod(leaf.shape) or not leaf.shape:
        return None
    values = np.asarray(leaf)
    if values.dtype.kind == "c" or (
        values.dtype.kind not in "biuf" and values.dtype.name[:2] != "bf"
    ):
        return None
    return moments(values.astype(np.float64), units % values.ndim, np.moveaxis, np.std)
