"""Constants computed in NumPy: what has an entry here needs no compiler.

XLA compiles each primitive for each shape, which takes milliseconds and memory: a mask of thousands of
scores is made of a dozen of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.jax.along_axes import CUMULATIVE, REDUCTIONS
from isoinit._reading.jax.numerics import ELEMENTWISE, replay
from isoinit._reading.jax.views import VIEWS

Values = npt.NDArray[Any]
Params = Mapping[str, Any]


def _iota(params: Params) -> Values:
    shape, axis = tuple(params["shape"]), int(params["dimension"])
    line = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.broadcast_to(line, shape)


def _dynamic_slice(params: Params, array: Values, *starts: Values) -> Values:
    sizes = [int(size) for size in params["slice_sizes"]]
    places = zip(starts, sizes, array.shape, strict=True)
    firsts = [min(max(int(start), 0), whole - size) for start, size, whole in places]
    return array[tuple(slice(a, a + n) for a, n in zip(firsts, sizes, strict=True))]


OTHERS: dict[str, Callable[..., Values]] = {
    "iota": _iota,
    "concatenate": lambda params, *arrays: np.concatenate(arrays, int(params["dimension"])),
    "dynamic_slice": _dynamic_slice,
    "reshape": lambda params, array: array.reshape(tuple(params["new_sizes"])),
}


def folded(
    name: str, params: Params, arrays: Sequence[Any], dtype: Any, place: int
) -> Values | None:
    """Return what a primitive makes of constants; None where NumPy has no such function here.

    Args:
        name: the primitive's.
        params: its parameters.
        arrays: what it reads.
        dtype: the type of what it makes.
        place: which of its results is asked for.

    Raises:
        ReplayError: if it cannot be computed on these arrays.
    """
    if not all(isinstance(array, np.ndarray) for array in arrays) or not isinstance(
        dtype, np.dtype
    ):
        return None  # a key for random numbers
    if name in OTHERS:
        return OTHERS[name](params, *arrays).astype(dtype, copy=False)
    if name in VIEWS:
        views = VIEWS[name](arrays[0], params)
        return None if views is None else views[place]
    if name in REDUCTIONS:
        axes = tuple(params["axes"])
        return np.squeeze(replay(name, params, arrays)[0], axes).astype(dtype, copy=False)
    if name in ELEMENTWISE or name in CUMULATIVE:
        wide = [a.astype(np.float64) if a.dtype.kind not in "biuc" else a for a in arrays]
        return replay(name, params, wide)[0].astype(dtype, copy=False)
    return None
