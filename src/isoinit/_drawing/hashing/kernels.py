# mypy: ignore-errors
# Numba has no types.
"""The sums of `isoinit._drawing.hashing.sums`, compiled by Numba."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from isoinit._drawing.hashing import sums
from isoinit._drawing.jit import available_threads, kernel, share, widest_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_u64 = np.uint64
_PLACE, _BITS = _u64(sums.PLACE), _u64(sums.BITS)
_FIRST, _SECOND = _u64(sums.FIRST), _u64(sums.SECOND)
_PIECE = 2**18


@kernel
def _add(bits, starts, lengths, key, total):
    widest_vectors()
    done, found = 0, _u64(0)
    for run in range(starts.size):
        place = key + _u64(starts[run]) * _PLACE
        here = bits[done : done + lengths[run]]
        for i in range(here.size):
            x = place + _u64(i) * _PLACE + _u64(here[i]) * _BITS
            x = (x ^ (x >> _u64(30))) * _FIRST
            x = (x ^ (x >> _u64(27))) * _SECOND
            found += x ^ (x >> _u64(31))
        done += here.size
    total[0] = found


def add(
    bits: NDArray[Any],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    key: int,
    threads: int | None = None,
) -> int:
    """As `isoinit._drawing.hashing.sums.add`, on `available_threads` unless told otherwise."""
    threads = threads or available_threads()
    if len(starts) == 1 and threads > 1 and bits.size > _PIECE:
        cuts = [*range(0, bits.size, _PIECE), bits.size]
        starts = starts[0] + np.array(cuts[:-1], np.int64)
        lengths = np.diff(np.array(cuts, np.int64))
    ends = np.cumsum(lengths)
    shares = 8 * threads if threads > 1 and bits.size > 2 * _PIECE else 1
    cuts = np.searchsorted(ends, np.linspace(0, bits.size, shares + 1)[1:-1]).tolist()
    parts = [(a, b) for a, b in pairwise([0, *cuts, len(starts)]) if a < b]
    totals = np.zeros((len(parts), 1), np.uint64)
    work = [
        (bits[ends[a] - lengths[a] : ends[b - 1]], starts[a:b], lengths[a:b], _u64(key), total)
        for (a, b), total in zip(parts, totals, strict=True)
    ]
    share(_add, work, threads)
    return int(totals.sum(dtype=np.uint64))
