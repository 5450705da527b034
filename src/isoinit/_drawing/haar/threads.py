"""`multiply_out` of `isoinit._drawing.haar.reflectors`, by several threads with Numba's kernels."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoinit._drawing.haar import kernels
from isoinit._drawing.jit import available_threads, share

# Panels that are worked on together: runs of 256 columns stay in the second-level cache.
_GROUP = 16
# Elements of matrices that one thread makes alone.
_SMALL = 256 * 256


def multiply_out(
    normals: NDArray[np.float32], out: NDArray[Any], gain: float, threads: int | None = None
) -> None:
    """Do what `reflectors.multiply_out` does, on `available_threads` unless told otherwise.

    Threads take whole matrices if these are small or many, else squares of one matrix.
    """
    threads = threads or available_threads()
    factor = out.dtype.type(gain)
    if threads == 1 or out[0].size <= _SMALL or len(out) >= 4 * threads:
        step = -(-len(out) // (4 * threads))
        cuts = [*range(0, len(out), step), len(out)]
        matrices = [(normals, out, factor, *ends) for ends in pairwise(cuts)]
        share(kernels.make_alone, matrices, threads)
        return
    for x, matrix in zip(normals, out, strict=True):
        _make_together(x, matrix, factor, threads)


def _make_together(x: NDArray[np.float32], out: NDArray[Any], gain: Any, threads: int) -> None:
    """Make one matrix, by threads that meet after each step."""
    k, n = x.shape
    v, vt, gram, inverses, solved, signs, halves = kernels.rooms(k, n, out)
    panels, height = len(v), len(vt)
    step = max(1, min(_GROUP, panels // 8))
    columns = [(at, min(at + step, panels)) for at in range(0, panels, step)]
    rows = [(at, min(at + step, height)) for at in range(0, height, step)]

    share(kernels.reflect, [(x, v, vt, signs, halves, *part) for part in columns], threads)
    lower = [(v, gram, *q, *p) for q in columns for p in columns if p <= q]
    share(kernels.multiply_gram, lower, threads)
    kernels.invert(gram, halves, inverses)
    factors = signs * gain
    known = (gram, inverses, vt, factors, solved)
    share(kernels.solve, [(*known, *part) for part in reversed(columns)], threads)
    squares = product(rows, columns) if out.shape[1] == k else product(columns, rows)
    sides = (vt, solved) if out.shape[1] == k else (solved, vt)
    share(kernels.multiply, [(*sides, out, *r, *c) for r, c in squares], threads)
    out[np.arange(k), np.arange(k)] -= factors[:k]
