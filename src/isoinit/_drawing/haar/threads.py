"""`multiply_out` of `isoinit._drawing.haar.reflectors`, by several threads with Numba's kernels."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoinit._drawing.haar import kernels
from isoinit._drawing.haar.reflectors import TILE
from isoinit._drawing.jit import available_threads, share

Array = NDArray[Any]
At = NDArray[np.int64]

# Panels that are worked on together: runs of 256 columns stay in the second-level cache.
_GROUP = 16
# Elements of matrices that are made by one call.
_SMALL = 256 * 256


class Places(NamedTuple):
    """Where the panels of matrices begin; see `kernels`."""

    v: At
    vt: At
    gram: At
    solved: At


class Memory(NamedTuple):
    """The memory for a matrix: of V (then of S⁻¹Vᵀ), its transpose, VᵀV, and what goes with them."""

    v: Array
    vt: Array
    gram: Array
    inverses: Array
    signs: Array
    halves: Array


def multiply_out(
    normals: NDArray[np.float32], out: Array, gain: float, threads: int | None = None
) -> None:
    """Do what `reflectors.multiply_out` does, on `available_threads` unless told otherwise.

    Threads take whole matrices if these are small or many, else squares of one matrix.
    """
    threads = threads or available_threads()
    factor, many = out.dtype.type(gain), len(out) >= 4 * threads
    if out[0].size <= _SMALL:
        step = -(-len(out) // (4 * threads))
        cuts = [*range(0, len(out), step), len(out)]
        share(_make_small, [(normals, out, factor, *ends) for ends in pairwise(cuts)], threads)
    elif many:
        pairs = zip(normals, out, strict=True)
        share(_make, [(x, matrix, factor, 1) for x, matrix in pairs], threads)
    else:
        for x, matrix in zip(normals, out, strict=True):
            _make(x, matrix, factor, threads)


def rooms(k: int, n: int, kind: np.dtype[Any], free: Array) -> tuple[Places, Memory]:
    """Give memory for a matrix.

    S⁻¹Vᵀ takes the place of V, which is not needed once VᵀV is known, and VᵀV that of the result,
    where the normal numbers may lie, if it fits. So a square matrix takes twice its own size, the
    result included.

    Args:
        k: the shorter side.
        n: the longer one.
        kind: the type of the elements.
        free: flat memory for VᵀV, if it is large enough.
    """
    panels, height = -(-k // TILE), -(-n // TILE)
    size, of = panels * TILE, np.arange
    v, vt, gram, solved = (
        np.cumsum([0, *counts]) * TILE
        for counts in (
            n - of(panels) * TILE,
            np.minimum((of(height) + 1) * TILE, size),
            size - of(panels) * TILE,
            (of(panels) + 1) * TILE,
        )
    )
    below = of(panels) * TILE * TILE  # V and VᵀV have no terms above their diagonals
    places = Places(v[:-1] - below, vt[:-1], gram[:-1] - below, solved[:-1])
    memory = Memory(
        np.empty(max(v[-1], solved[-1]), kind),
        np.empty(vt[-1], kind),
        free if free.size >= gram[-1] else np.empty(gram[-1], kind),
        np.empty((panels, TILE, TILE), kind),
        np.ones(size, kind),
        np.ones(size, kind),
    )
    return places, memory


def _make_small(x: NDArray[np.float32], out: Array, gain: Any, first: int, last: int) -> None:
    """Make some matrices, one after another."""
    _, k, n = x.shape
    places, memory = rooms(k, n, out.dtype, np.empty(0, out.dtype))
    kernels.make_alone(x, out, gain, tuple(places), tuple(memory), first, last)


def _make(x: NDArray[np.float32], out: Array, gain: Any, threads: int) -> None:
    """Make one matrix, by threads that meet after each step."""
    k, n = x.shape
    at, (v, vt, gram, inverses, signs, halves) = rooms(k, n, out.dtype, out.reshape(-1))
    panels, height = len(at.v), len(at.vt)
    step = max(1, min(_GROUP, panels // 8))
    columns = [(first, min(first + step, panels)) for first in range(0, panels, step)]
    rows = [(first, min(first + step, height)) for first in range(0, height, step)]

    reflected = (x, v, at.v, vt, at.vt, signs, halves)
    share(kernels.reflect, [(*reflected, *part) for part in columns], threads)
    lower = [(v, at.v, n, gram, at.gram, *q, *p) for q in columns for p in columns if p <= q]
    share(kernels.multiply_gram, lower, threads)
    kernels.invert(gram, at.gram, halves, inverses)
    factors = signs * gain
    known = (gram, at.gram, inverses, vt, at.vt, factors, v, at.solved)
    share(kernels.solve, [(*known, *part) for part in reversed(columns)], threads)
    squares = product(rows, columns) if out.shape[1] == k else product(columns, rows)
    left, right = (vt, at.vt), (v, at.solved)
    sides = (*left, *right) if out.shape[1] == k else (*right, *left)
    share(kernels.multiply, [(*sides, out, *r, *c) for r, c in squares], threads)
    out[np.arange(k), np.arange(k)] -= factors[:k]
