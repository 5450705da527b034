"""The functions of `isoinit._drawing.streams.philox`, by several threads with Numba's kernels.

Threads take whole blocks, whole runs, whole jobs or whole rows, so that their number changes no bit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoinit._drawing.jit import available_threads, share
from isoinit._drawing.streams import kernels, philox
from isoinit._drawing.streams.philox import BLOCK, WORDS, Jobs, Key, Law

# Elements that are worth a thread's while.
_CHUNK = 128 * BLOCK


def fill(key: Key, law: Law, out: NDArray[Any], start: int, threads: int | None = None) -> None:
    """Write elements ``start`` to ``start + out.size`` of a parameter into ``out``.

    ``threads`` is `available_threads` unless given; small arrays stay on the caller's.
    """
    threads = (threads or available_threads()) if out.size >= 2 * _CHUNK else 1
    if threads == 1:
        _fill_chunk(key, law, out, start)
        return
    # Several chunks a thread, so that one that is held up does not keep the others waiting.
    size = max(_CHUNK, out.size // (16 * threads) // BLOCK * BLOCK)
    whole, stop = start - start % BLOCK, start + out.size
    cuts = [start, *range(whole + size, stop, size), stop]
    chunks = [(key, law, out[a - start : b - start], a) for a, b in pairwise(cuts)]
    share(_fill_chunk, chunks, threads)


def _fill_chunk(key: Key, law: Law, out: NDArray[Any], start: int) -> None:
    counter = [np.uint64(word) for word in key]
    if law.kind == WORDS:
        kernels.fill_words(*counter, out, np.uint64(start))
    elif out.dtype == np.float16:  # Numba has no float16 on a CPU
        for at in range(0, out.size, _CHUNK):
            part = out[at : at + _CHUNK]
            values = np.empty(part.size, np.float32)
            _fill_chunk(key, law, values, start + at)
            part[:] = values
    else:
        run = np.array([start], np.int64), np.array([out.size], np.int64)
        kernels.fill_runs(*counter, *_numbers(law, out.dtype), out, *run)


def fill_runs(
    key: Key,
    law: Law,
    out: NDArray[Any],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    threads: int | None = None,
) -> None:
    """Write runs of a parameter's elements, one behind the other, into ``out``."""
    threads = threads or available_threads()
    ends = np.cumsum(lengths)
    count = 16 * threads if threads > 1 and out.size >= 2 * _CHUNK else 1
    cuts = np.searchsorted(ends, np.linspace(0, out.size, count + 1)[1:-1]).tolist()
    chunks = [
        (key, law, out[ends[a] - lengths[a] : ends[b - 1]], starts[a:b], lengths[a:b])
        for a, b in pairwise([0, *cuts, len(starts)])
        if a < b
    ]
    share(_fill_some_runs, chunks, threads)


def _fill_some_runs(
    key: Key, law: Law, out: NDArray[Any], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> None:
    # Numba has no float16 on a CPU.
    values = np.empty(out.size, np.float32) if out.dtype == np.float16 else out
    counter = [np.uint64(word) for word in key]
    kernels.fill_runs(*counter, *_numbers(law, values.dtype), values, starts, lengths)
    if values is not out:
        out[:] = values


def _numbers(law: Law, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return a distribution for the kernels, with its scaling in the arithmetic of the dtype."""
    real: Any = float if dtype == np.float64 else np.float32
    scaling = (real(law.scale), real(law.shift), real(law.low), real(law.high))
    return law.kind, *scaling, *map(np.float32, (law.below, law.above, law.step))


def fill_together(jobs: Jobs, dtype: np.dtype[Any], threads: int | None = None) -> None:
    """Do the jobs, whose memory is of one type; the later one wins where two overlap."""
    if dtype == np.float16:
        for key, law, out in philox.each(jobs, dtype):
            _fill_chunk(key, law, out, 0)
        return
    keys = np.frombuffer(b"".join(jobs.keys), "<u4").reshape(-1, 4).astype(np.uint64)
    addresses, sizes = np.array(jobs.addresses, np.uint64), np.array(jobs.sizes, np.int64)
    # Laws are cached, so that most jobs share one, and comparing which is quicker than what.
    ids = list(map(id, jobs.laws))
    laws = dict(zip(ids, jobs.laws, strict=True))
    numbers = {one: number for number, one in enumerate(laws)}
    which = np.array([numbers[one] for one in ids])
    kinds, table = (np.array([law[a:b] for law in laws.values()]) for a, b in ((0, 1), (1, 8)))
    scaling = table[:, :4].astype(np.float64 if dtype == np.float64 else np.float32)
    chances = table[:, 4:].astype(np.float32)
    args = (keys, addresses, sizes, which, kinds, scaling, chances, np.empty(0, dtype))
    ends = np.cumsum(sizes)
    threads = threads or available_threads()
    count = 4 * threads if ends[-1] >= 2 * _CHUNK and not _overlap(addresses, sizes, dtype) else 1
    cuts = np.searchsorted(ends, np.linspace(0, ends[-1], count + 1)[1:-1])
    chunks = [(*args, a, b) for a, b in pairwise([0, *cuts.tolist(), len(ids)])]
    share(kernels.fill_jobs, chunks, threads)


def _overlap(addresses: NDArray[np.uint64], sizes: NDArray[np.int64], dtype: np.dtype[Any]) -> bool:
    """Return whether any two memories (address, elements) overlap, so that their order matters."""
    order = np.argsort(addresses, kind="stable")
    starts, stops = addresses[order], (addresses + (sizes * dtype.itemsize).view(np.uint64))[order]
    return bool((stops[:-1] > starts[1:]).any())


def subsets(words: NDArray[np.uint32], size: int, threads: int | None = None) -> None:
    """Turn each row of ``words`` into different numbers below ``size``; threads take whole rows."""
    threads = threads or available_threads()
    several = threads > 1 and words.size >= _CHUNK
    step = -(-len(words) // (4 * threads)) if several else max(len(words), 1)
    chunks = [(words[a : a + step], size) for a in range(0, len(words), step)]
    share(_choose_rows, chunks, threads)


def _choose_rows(words: NDArray[np.uint32], size: int) -> None:
    kernels.choose(words, size, np.zeros(size, np.bool_))
