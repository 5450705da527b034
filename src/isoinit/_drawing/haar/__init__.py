"""Random orthogonal matrices, with the same bits on every machine and any number of threads.

`reflectors` is the definition in plain NumPy, `kernels` computes the same bits with Numba, and
`threads` deals the work out to several. Import `haar` from here.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from isoinit._drawing.backend import Backend
from isoinit._drawing.haar import reflectors
from isoinit._drawing.streams import Stream

_backend: Final = Backend(reflectors, "isoinit._drawing.haar.threads")


def haar(out: npt.NDArray[Any], stream: Stream, gain: float = 1.0, first: int = 0) -> None:
    """Fill `out`, a stack of matrices, with `gain` times matrices uniform over all semi-orthogonal.

    A matrix takes the stream's next k·n normal numbers, k its shorter side and n its longer one.

    Args:
        out: (stack, rows, columns), contiguous, of float32 or float64, the type of the arithmetic.
        stream: the random numbers.
        gain: the length of the shorter side's vectors.
        first: which of the stream's matrices is the first.
    """
    stack, *sides = out.shape
    k, n = sorted(sides)
    if not out.size:
        return
    # The normal numbers of single precision lie where the result will: fresh memory is slow.
    normals = out.reshape(-1) if out.dtype == np.float32 else np.empty(out.size, np.float32)
    stream.normal(normals, start=first * k * n)
    work = k * (1000 + stack * n * k // 6)  # measured
    _backend.pick(work).multiply_out(normals.reshape(stack, k, n), out, gain)
