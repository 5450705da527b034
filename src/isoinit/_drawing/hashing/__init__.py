"""A sum of the hashes of a tensor's elements: the same in any order, of any parts.

`sums` is the definition in plain NumPy, `kernels` computes the same with Numba, and `threads` deals
the work out to several. Import `hash_sum` and `tensor_key` from here.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from isoinit._drawing.backend import Backend
from isoinit._drawing.hashing import sums
from isoinit._drawing.shard import Piece

_backend: Final = Backend(sums, "isoinit._drawing.hashing.threads")


def tensor_key(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """What the hashes of a tensor's elements start from: 64 bits of its name, type and shape."""
    text = f"{name}\0{dtype}\0{shape}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"isoinit")
    return int.from_bytes(digest.digest(), "little")


def hash_sum(values: npt.NDArray[Any], piece: Piece, key: int) -> int:
    """The sum modulo 2**64 of the hashes of some elements.

    Args:
        values: a flat, contiguous array: the elements of the piece, of 1, 2, 4, 8 or 16 bytes.
        piece: which part of the tensor they are.
        key: see `tensor_key`.
    """
    bits = _bits(values)
    total, done = 0, 0
    for starts, lengths in piece.runs():
        size = int(lengths.sum())
        backend = _backend.pick(size + 1000 * len(starts))
        total += backend.add(bits[done : done + size], starts, lengths, key)
        done += size
    return total % 2**64


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The bits of each element; of 16 bytes, the second half mixed into the first."""
    if values.dtype.itemsize <= 8:
        return values.view(np.dtype(f"u{values.dtype.itemsize}"))
    first, second = values.view(np.uint64).reshape(-1, 2).T
    with np.errstate(over="ignore"):
        mixed: npt.NDArray[Any] = first + (second ^ (second >> np.uint64(31))) * np.uint64(
            sums.FIRST
        )
    return mixed
