"""The number of threads changes no bit."""

import numpy as np
import pytest

from isoinit._drawing.streams import Stream
from isoinit._drawing.streams.philox import NORMAL, Jobs, Law
from isoinit._drawing.streams.threads import _CHUNK, fill, fill_runs, fill_together, subsets

DTYPES = ["float32", "float64", "float16", "uint16"]
KEY = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
NORMALS = Law(NORMAL, 1.0, 0.0, -np.inf, np.inf)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [0, 777])
def test_threads_change_nothing(dtype, start):
    count = 3 * _CHUNK + 12_345
    one, two, five = (np.zeros(count, dtype) for _ in range(3))
    for out, threads in ((one, 1), (two, 2), (five, 5)):
        fill(KEY, NORMALS, out, start, threads)
    assert one.tobytes() == two.tobytes() == five.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_share_runs(dtype):
    starts = np.arange(3000, dtype=np.int64)[::-1] * 2000
    lengths = np.full(3000, 300, np.int64)
    found = [np.zeros(lengths.sum(), dtype) for _ in range(2)]
    for out, threads in zip(found, (1, 3), strict=True):
        fill_runs(KEY, NORMALS, out, starts, lengths, threads)
    assert found[0].tobytes() == found[1].tobytes()
    one = np.zeros(300, dtype)
    fill(KEY, NORMALS, one, int(starts[17]))
    assert found[0][17 * 300 : 18 * 300].tobytes() == one.tobytes()


def test_threads_change_no_subset():
    words = np.random.default_rng(0).integers(0, 2**32, (_CHUNK // 50, 60), np.uint32)
    one, two, five = (words.copy() for _ in range(3))
    for out, threads in ((one, 1), (two, 2), (five, 5)):
        subsets(out, 500, threads)
    assert np.array_equal(one, two)
    assert np.array_equal(one, five)


def jobs_for(arrays):
    keys = [Stream(0, f"{i}").key() for i in range(len(arrays))]
    sizes = [array.size for array in arrays]
    return Jobs(keys, [NORMALS] * len(arrays), [array.ctypes.data for array in arrays], sizes)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_jobs(threads):
    outs = [np.zeros(50_000, np.float32) for _ in range(20)]
    assert sum(out.size for out in outs) > 2 * _CHUNK
    fill_together(jobs_for(outs), np.dtype(np.float32), threads)
    for i, out in enumerate(outs):
        expected = np.zeros_like(out)
        Stream(0, f"{i}").normal(expected)
        assert np.array_equal(out, expected)


def test_of_jobs_whose_memory_overlaps_the_later_wins():
    memory = np.zeros(400_000, np.float32)
    parts = [memory[:300_000], memory[100_000:], memory[200_000:250_000]]
    fill_together(jobs_for(parts), np.dtype(np.float32), 2)
    found, expected = memory.copy(), np.zeros_like(memory)
    for i, (first, stop) in enumerate([(0, 300_000), (100_000, 400_000), (200_000, 250_000)]):
        Stream(0, f"{i}").normal(expected[first:stop])
    assert np.array_equal(found, expected)
