"""Two threads against one: 16.8 million normal numbers."""

import math
from functools import partial

import numpy as np

from benchmarks.timing import Row, compare, emit
from isoinit._drawing.streams import laws, threads


def rows() -> list[Row]:
    found = []
    for dtype in (np.float32, np.uint16):
        out = np.zeros(2**24, dtype)
        fill = partial(threads.fill, (1, 2, 3, 4), laws.normal(0.0, 0.02, out.dtype), out, 0)
        kind = "bfloat16" if dtype == np.uint16 else "float32"
        case = f"{math.prod(out.shape) / 1e6:.1f} M normals, {kind}, two threads"
        found.append(compare(case, partial(fill, 2), "itself, one thread", partial(fill, 1), 15))
    return found


if __name__ == "__main__":
    emit(rows())
