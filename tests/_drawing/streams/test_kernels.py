"""The compiled kernels give the bits of the definition, on any slice."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isoinit._drawing.streams import Stream, kernels, philox, threads
from isoinit._drawing.streams import laws as laws_
from isoinit._drawing.streams.philox import NORMAL, WORDS, Jobs, Law

INF = float("inf")
DTYPES = ["float32", "float64", "float16", "uint16"]
KEY = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
NORMALS = Law(NORMAL, 1.0, 0.0, -INF, INF)


@st.composite
def laws(draw, dtype):
    kind = draw(st.sampled_from(["uniform", "normal", "truncated"]))
    std = draw(st.sampled_from([1.0, 0.02, 1e-3, 7.0]))
    mean = std * draw(st.sampled_from([0.0, 0.1, -3.0]))
    a = draw(st.floats(-9.0, 8.0))
    b = a + draw(st.floats(0.5, 8.0))
    if kind == "normal":
        return Law(NORMAL, std, mean, -INF, INF)
    low, high = mean + a * std, mean + b * std
    if kind == "uniform":
        return laws_.uniform(low, high, np.dtype(dtype))
    return laws_.truncated_normal(mean, std, low, high, np.dtype(dtype))


keys = st.tuples(*[st.integers(0, 2**32 - 1)] * 4)
starts = st.integers(0, 5000) | st.integers(2**32 - 3000, 2**32 + 3000) | st.integers(0, 2**61)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), key=keys, start=starts, count=st.integers(1, 4000))
def test_same_bits_as_the_definition(dtype, data, key, start, count):
    law = data.draw(laws(dtype))
    fast, plain = np.zeros(count, dtype), np.zeros(count, dtype)
    threads.fill(key, law, fast, start)
    philox.fill(key, law, plain, start)
    assert fast.tobytes() == plain.tobytes()


@settings(deadline=None, max_examples=60)
@given(key=keys, start=starts, count=st.integers(1, 4000))
@example(key=KEY, start=2**32 * 1024 // 256 - 5, count=3000)  # the counter's upper word begins
def test_same_words_as_the_definition(key, start, count):
    law = Law(WORDS, 1.0, 0.0, -INF, INF)
    fast, plain = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    threads.fill(key, law, fast, start)
    philox.fill(key, law, plain, start)
    assert np.array_equal(fast, plain)


@settings(deadline=None, max_examples=100)
@given(
    rows=st.integers(0, 30), size=st.integers(1, 300), share=st.floats(0, 1), seed=st.integers(0, 9)
)
def test_same_subsets_as_the_definition(rows, size, share, seed):
    words = np.random.default_rng(seed).integers(0, 2**32, (rows, round(share * size)), np.uint32)
    words[:, ::3] |= np.uint32(0xFFFFFF00)  # the upper end, and numbers that were chosen before
    fast, plain = words.copy(), words.copy()
    threads.subsets(fast, size)
    philox.subsets(plain, size)
    assert np.array_equal(fast, plain)
    assert all(len(set(row)) == len(row) and row.max(initial=0) < size for row in fast)


@pytest.mark.parametrize("backend", [threads, philox])
@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 6000), max_size=5), start=st.sampled_from([0, 700, 2**33]))
def test_slices_are_the_whole(backend, cuts, start):
    whole, parts = np.zeros(6000, np.float32), np.zeros(6000, np.float32)
    backend.fill(KEY, NORMALS, whole, start)
    edges = [0, *sorted(cuts), 6000]
    for a, b in itertools.pairwise(edges):
        backend.fill(KEY, NORMALS, parts[a:b], start + a)
    assert np.array_equal(whole, parts)


def test_only_the_slice_is_written():
    out = np.full(5000, 7.0, np.float32)
    threads.fill(KEY, NORMALS, out[1500:3100], 1500)
    assert (out[:1500] == 7).all()
    assert (out[3100:] == 7).all()
    assert not (out[1500:3100] == 7).any()


@st.composite
def runs(draw):
    """Where runs of elements start, and their lengths: in any order, some in one block."""
    starts = draw(st.lists(st.integers(0, 6000) | st.integers(2**40, 2**40 + 3000), min_size=1))
    lengths = [draw(st.integers(0, 1500) | st.just(1)) for _ in starts]
    return np.array(starts, np.int64), np.array(lengths, np.int64)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), runs=runs())
def test_runs_have_the_bits_of_the_whole(dtype, data, runs):
    law = data.draw(laws(dtype))
    starts, lengths = runs
    fast, plain = np.zeros(lengths.sum(), dtype), np.zeros(lengths.sum(), dtype)
    threads.fill_runs(KEY, law, fast, starts, lengths)
    philox.fill_runs(KEY, law, plain, starts, lengths)
    assert fast.tobytes() == plain.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_runs_have_the_bits_of_the_whole(dtype):
    starts, lengths = np.array([5, 2**40 - 1024, 3 * 1024]), np.array([200_000, 100_001, 150_000])
    fast, plain = np.zeros(lengths.sum(), dtype), np.zeros(lengths.sum(), dtype)
    law = laws_.uniform(-1.0, 1.0, np.dtype(dtype))
    threads.fill_runs(KEY, law, fast, starts, lengths, 1)
    philox.fill_runs(KEY, law, plain, starts, lengths)
    assert fast.tobytes() == plain.tobytes()


def jobs_for(arrays, drawn):
    keys = [Stream(0, f"{i}").key() for i in range(len(arrays))]
    return Jobs(keys, drawn, [a.ctypes.data for a in arrays], [a.size for a in arrays])


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=25)
@given(data=st.data(), sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=9))
def test_jobs_together_give_the_same_bits(dtype, data, sizes):
    drawn = [data.draw(laws(dtype) | st.just(laws_.fixed(-0.3, np.dtype(dtype)))) for _ in sizes]
    alone, together, plain = ([np.zeros(n, dtype) for n in sizes] for _ in range(3))
    for i, (law, out) in enumerate(zip(drawn, alone, strict=True)):
        Stream(0, f"{i}").fill(out, law)
    for backend, outs in ((threads, together), (philox, plain)):
        backend.fill_together(jobs_for(outs, drawn), np.dtype(dtype))
        for mine, theirs in zip(alone, outs, strict=True):
            assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [0, 1, 517, 3 * 1024])
@pytest.mark.parametrize("shift", [0, 1, 8])
def test_large_fills_go_past_the_cache_with_the_same_bits(dtype, start, shift):
    """Lines are streamed where a block begins on one; `shift` elements move the memory off them."""
    item = np.dtype(dtype).itemsize
    count = kernels._STREAMED // item + 5000
    memory = np.zeros(count + 200, dtype)
    aligned = -memory.ctypes.data % 64 // item
    # A block begins `-start % 1024` elements into the slice: with shift 0 it begins on a line.
    place = aligned + (start + shift) % (64 // item)
    out, plain = memory[place : place + count], np.zeros(count, dtype)
    threads.fill(KEY, NORMALS, out, start, 1)
    philox.fill(KEY, NORMALS, plain, start)
    assert out.tobytes() == plain.tobytes()
    assert not memory[:place].any()
    assert not memory[place + count :].any()
