# mypy: ignore-errors
# Numba has no types.
"""The sums of `isoinit._drawing.hashing.sums`, compiled by Numba; `threads` calls them."""

from __future__ import annotations

import numpy as np

from isoinit._drawing.hashing import sums
from isoinit._drawing.jit import kernel, widest_vectors

_u64 = np.uint64
_PLACE, _BITS = _u64(sums.PLACE), _u64(sums.BITS)
_FIRST, _SECOND = _u64(sums.FIRST), _u64(sums.SECOND)


@kernel
def add(bits, starts, lengths, key, total):
    """Write the sum of the hashes of runs of elements into `total`."""
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
