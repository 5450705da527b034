"""Products of a sparse matrix with batches, by several threads with the compiled kernels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoinit._drawing.jit import share
from isoinit.sparse import kernels

_CACHE, _AT_LEAST = 2**16, 24  # bytes of a panel, and weights of a row, that are worked on together
_FEATURES = 1024  # of a panel that one thread turns at a time: some 50 µs


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory that begins with a cache line: else every other vector lies in two lines."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def lanes_for(examples: int) -> int:
    """Return how many examples a panel holds: as many as registers do, or fewer for a small batch."""
    return 16 if examples <= 16 else 32 if examples <= 32 else 64


def pack(x: NDArray[Any], lanes: int, threads: int) -> NDArray[Any]:
    """Return a batch (examples, features) in panels."""
    out = _aligned((-(-len(x) // lanes), x.shape[1], lanes), x.dtype)
    share(kernels.pack_rows, [(x, out, *piece) for piece in _pieces(out)], threads)
    return out


def unpack(x: NDArray[Any], out: NDArray[Any], threads: int) -> None:
    """Write panels back into a batch."""
    share(kernels.unpack_rows, [(x, out, *piece) for piece in _pieces(x)], threads)


def multiply(
    values: NDArray[Any],
    columns: NDArray[Any],
    starts: NDArray[Any],
    x: NDArray[Any],
    threads: int,
    order: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return W·x: from panels (panels, size, lanes) to panels (panels, rows, lanes).

    With an order the weights are ``values[order]``, which are then not copied out: within a tile they
    are neighbours in memory, and over the whole matrix they are not.
    """
    panels, size, lanes = x.shape
    rows = len(starts) - 1
    y = _aligned((panels, rows, lanes), x.dtype)
    flat, out, tag, tile = x.reshape(-1), y.reshape(-1), (0,) * lanes, _tile(x, starts)
    places = (columns, False) if order is None else (order, True)
    share(
        kernels.multiply_rows,
        [
            (values, *places, columns, starts, flat, out, panels, size, rows, tile, a, b, tag)
            for a, b in _runs(starts, threads)
        ],
        threads,
    )
    return y


def correlate(
    g: NDArray[Any],
    x: NDArray[Any],
    columns: NDArray[Any],
    starts: NDArray[Any],
    threads: int,
) -> NDArray[Any]:
    """Return the gradient of each kept weight, from panels of an output's gradient and an input."""
    panels, size, lanes = x.shape
    out = np.empty(len(columns), x.dtype) if panels else np.zeros(len(columns), x.dtype)
    flat_g, flat_x, tag = g.reshape(-1), x.reshape(-1), (0,) * lanes
    share(
        kernels.correlate_rows,
        [
            (flat_g, flat_x, columns, starts, out, panels, size, g.shape[1], a, b, tag)
            for a, b in _runs(starts, threads)
        ],
        threads,
    )
    return out


def multiply_one(
    values: NDArray[Any],
    columns: NDArray[Any],
    starts: NDArray[Any],
    x: NDArray[Any],
    threads: int,
) -> NDArray[Any]:
    """Return W·x for one example."""
    y = np.empty(len(starts) - 1, x.dtype)
    runs = [(values, _unsigned(columns), starts, x, y, a, b) for a, b in _runs(starts, threads)]
    share(kernels.multiply_one, runs, threads)
    return y


def _unsigned(numbers: NDArray[Any]) -> NDArray[Any]:
    return numbers.view(numbers.dtype.str.replace("i", "u"))


def _tile(x: NDArray[Any], starts: NDArray[Any]) -> int:
    """Return how many columns are worked on together, so that their numbers stay in the cache.

    But so many that a row has some weights among them: it begins and ends at a cost.
    """
    cached: int = _CACHE // (x.shape[2] * x.itemsize)
    a_row = float(starts[-1]) / max(len(starts) - 1, 1)
    return max(cached, int(_AT_LEAST * x.shape[1] / max(a_row, 1)), 1)


def _pieces(panels: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Return the panel and the features of pieces that are worth a thread's while."""
    number, size, _ = panels.shape
    return [
        (panel, left, min(left + _FEATURES, size))
        for panel in range(number)
        for left in range(0, size, _FEATURES)
    ]


def _runs(starts: NDArray[Any], threads: int) -> list[tuple[int, int]]:
    """Return runs of rows that hold about equally many weights."""
    rows = len(starts) - 1
    if threads == 1:
        return [(0, rows)]
    cuts = np.linspace(0, starts[-1], 4 * threads + 1)[1:-1]
    inner = np.unique(np.clip(np.searchsorted(starts, cuts), 0, rows)).tolist()
    edges = sorted({0, *inner, rows})
    return list(pairwise(edges))
