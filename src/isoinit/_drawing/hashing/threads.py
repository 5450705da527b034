"""`add` of `isoinit._drawing.hashing.sums`, by several threads with Numba's kernel."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoinit._drawing.hashing import kernels
from isoinit._drawing.jit import available_threads, share

# Elements that are worth a thread's while.
_CHUNK = 2**18


def add(
    bits: NDArray[Any],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    key: int,
    threads: int | None = None,
) -> int:
    """Do what `sums.add` does, on `available_threads` unless told otherwise."""
    threads = threads or available_threads()
    if len(starts) == 1 and threads > 1 and bits.size > _CHUNK:
        edges = [*range(0, bits.size, _CHUNK), bits.size]
        starts = starts[0] + np.array(edges[:-1], np.int64)
        lengths = np.array([stop - start for start, stop in pairwise(edges)], np.int64)
    ends = np.cumsum(lengths)
    count = 8 * threads if threads > 1 and bits.size > 2 * _CHUNK else 1
    cuts = np.searchsorted(ends, np.linspace(0, bits.size, count + 1)[1:-1]).tolist()
    parts = [(a, b) for a, b in pairwise([0, *cuts, len(starts)]) if a < b]
    totals = np.zeros((len(parts), 1), np.uint64)
    chunks = [
        (bits[ends[a] - lengths[a] : ends[b - 1]], starts[a:b], lengths[a:b], np.uint64(key), total)
        for (a, b), total in zip(parts, totals, strict=True)
    ]
    share(kernels.add, chunks, threads)
    return int(totals.sum(dtype=np.uint64))
