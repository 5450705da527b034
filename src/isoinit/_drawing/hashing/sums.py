"""The definition of the hashes, in plain NumPy.

Element `e` of bits `b` in a tensor of key `k` has the hash `mix(k + e·G + b·H)` modulo 2**64, with two
odd constants and the finalizer of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014), which is a bijection. It finds accidents, and is not meant to resist
an attacker.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

PLACE: Final = 0x9E3779B97F4A7C15
BITS: Final = 0xD1342543DE82EF95
FIRST: Final = 0xBF58476D1CE4E5B9
SECOND: Final = 0x94D049BB133111EB
_TOGETHER: Final = 2**15


def add(
    bits: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    key: int,
) -> int:
    """The sum of the hashes of runs of elements, one behind the other in `bits`."""
    total, done = 0, 0
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        for at in range(0, length, _TOGETHER):
            count = min(_TOGETHER, length - at)
            here = bits[done : done + count].astype(np.uint64)
            places = np.arange(start + at, start + at + count, dtype=np.uint64)
            total += int(_hashes(here, places, key).sum(dtype=np.uint64))
            done += count
    return total % 2**64


def _hashes(
    bits: npt.NDArray[np.uint64], places: npt.NDArray[np.uint64], key: int
) -> npt.NDArray[np.uint64]:
    x = places * np.uint64(PLACE) + bits * np.uint64(BITS) + np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(SECOND)
    hashes: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return hashes
