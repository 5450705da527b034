"""Streams: the bounds in every type, the keys, slices, and the errors.

Their distributions are in `test_laws.py`, their independence in `test_independence.py`.
"""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers import from_bfloat16
from isoinit._drawing import backend
from isoinit._drawing.streams import Stream, laws, philox
from isoinit._drawing.streams.stream import keys
from isoinit.errors import ArgumentError, IsoinitWarning

INF = math.inf


def drawn(method, count, dtype=np.float32, seed=0, start=0, **law):
    out = np.empty(count, dtype)
    getattr(Stream(seed, "weight"), method)(out, start, **law)
    return out


# ---------------------------------------------------------------- bounds and rounding


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint16"])
@pytest.mark.parametrize("bound", [2.0, 0.04, 0.1, 1 / 3, 0.0623])
def test_bounds_are_kept(dtype, bound):
    def wide(x):
        return (from_bfloat16(x) if dtype == "uint16" else x).astype(np.float64)

    u = wide(drawn("uniform", 1_000_000, dtype, low=-bound, high=bound))
    assert u.min() >= -bound
    assert u.max() < bound
    t = wide(drawn("truncated_normal", 1_000_000, dtype, std=bound / 2, low=-bound, high=bound))
    assert t.min() >= -bound
    assert t.max() <= bound
    # Coarse values reach their bounds to one unit, and so does the sample.
    assert u.max() > 0.99 * bound
    assert t.max() > 0.99 * bound


@given(
    st.sampled_from(["float32", "float16", "float64"]),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_bounds_of_a_type_are_the_nearest_inside(dtype, a, b):
    low, high = min(a, b), max(a, b)
    kind, real = laws._FORMATS[np.dtype(dtype)], np.dtype(dtype).type
    with np.errstate(over="ignore"):
        for value, sign in ((kind.ceil(low), 1), (kind.floor(high), -1)):
            assert float(real(value)) == value or math.isinf(value)
            if math.isfinite(value):
                towards = float(np.nextafter(real(value), real(-sign * np.inf)))
                bound = low if sign == 1 else high
                assert sign * value >= sign * bound
                assert sign * towards < sign * bound


def test_float64_is_the_same_deviate():
    single, double = (drawn("normal", 1000, dtype, mean=3.0, std=0.1) for dtype in ("f4", "f8"))
    deviate = drawn("normal", 1000, "f8")
    assert np.array_equal(double, deviate * 0.1 + 3.0)
    assert np.abs(single - double).max() <= 2.0**-22


@pytest.mark.parametrize("dtype", ["float16", "uint16"])
def test_low_precision_is_float32_rounded_once(dtype):
    torch = pytest.importorskip("torch")
    single, low = (drawn("normal", 10_000, d, std=0.3) for d in ("float32", dtype))
    target = torch.float16 if dtype == "float16" else torch.bfloat16
    rounded = torch.from_numpy(single).to(target).view(torch.int16).numpy()
    assert np.array_equal(rounded, low.view(np.int16))


def test_zero_std_is_the_mean():
    assert (drawn("normal", 100, mean=0.5, std=0.0) == 0.5).all()


def test_a_narrow_interval_has_the_values_of_its_type():
    steps = 0.5 + np.arange(6) * float(np.spacing(np.float16(0.5)))
    values = drawn("truncated_normal", 1000, "float16", low=0.5, high=float(steps[-1]))
    assert set(values.tolist()) == set(steps.tolist())


# ---------------------------------------------------------------- streams


def test_keys_are_unambiguous():
    triples = [
        (1, "1", ""),
        (11, "", ""),
        (1, "", "1"),
        (-1, "1", ""),
        (1, "a", "b"),
        (1, "ab", ""),
    ]
    assert len({Stream(*triple).key() for triple in triples}) == len(triples)
    assert Stream(0, "a").child("b").child("c") == Stream(0, "a").child("b/c")
    assert Stream(np.int64(3), "a").key() == Stream(3, "a").key()


def test_keys_together_are_those_of_each():
    names = ["", "weight", "größe.0", "\ud800", "a" * 500]
    for seed in (0, -1, 2**80):
        assert keys(seed, names) == [Stream(seed, name).key() for name in names]


def test_words_follow_the_index():
    one = Stream(5, "w")
    whole = one.words(0, 5000)
    assert whole.dtype == np.uint32
    assert np.array_equal(one.words(1234, 100), whole[1234:1334])
    assert one.words(7, 0).shape == (0,)


def test_large_and_small_fills_agree():
    large = drawn("normal", 200_000)
    assert np.array_equal(drawn("normal", 50, start=150_001), large[150_001:150_051])


def test_import_does_not_load_numba():
    code = "import isoinit._drawing.streams, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_numba_the_numbers_are_the_same(monkeypatch):
    expected = drawn("normal", 120_000)
    monkeypatch.setattr(backend, "_done", backend._PATIENCE)  # small fills do not wait for Numba
    monkeypatch.setitem(sys.modules, "isoinit._drawing.jit", None)
    backend.numba_fault.cache_clear()
    try:
        with pytest.warns(IsoinitWarning, match="Install numba"):
            first = drawn("normal", 120_000)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = drawn("normal", 120_000)
    finally:
        backend.numba_fault.cache_clear()
    assert np.array_equal(first, expected)
    assert np.array_equal(second, expected)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("method", "law", "match"),
    [
        ("normal", {"std": -1.0}, "std -1.0"),
        ("normal", {"std": math.nan}, "std nan"),
        ("normal", {"std": 1e39}, "finite in float32"),
        ("normal", {"mean": INF}, "mean is inf"),
        ("uniform", {"low": 1.0, "high": 1.0}, "low < high"),
        ("uniform", {"low": math.nan}, "finite"),
        ("uniform", {"high": INF}, "finite"),
        ("uniform", {"low": -3e38, "high": 3e38}, "difference"),
        ("truncated_normal", {"std": 0.0}, "std is 0"),
        ("truncated_normal", {"low": 2.0, "high": -2.0}, "low < high"),
        ("truncated_normal", {"high": math.nan}, "low < high"),
        ("truncated_normal", {"low": 11.0, "high": 12.0}, "10.8 std"),
        ("truncated_normal", {"low": -30.0, "high": -20.0}, "10.8 std"),
        ("normal", {"start": -1}, "start is -1"),
        ("normal", {"start": 2**62}, "2\\*\\*62"),
    ],
)
def test_argument_errors(method, law, match):
    with pytest.raises(ArgumentError, match=match):
        drawn(method, 8, **law)


def test_an_interval_between_two_coarse_values():
    drawn("uniform", 8, low=1.001, high=1.002)
    with pytest.raises(ArgumentError, match="no bfloat16 value lies between"):
        drawn("uniform", 8, np.uint16, low=1.001, high=1.002)


def read_only():
    out = np.zeros(4, np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "match"),
    [
        ([0.0], "list"),
        (np.zeros(4, np.int32), "int32"),
        (np.zeros(4, ">f4"), ">f4"),
        (np.zeros((2, 2), np.float32), r"shape \(2, 2\)"),
        (np.zeros(8, np.float32)[::2], "strides"),
        (read_only(), "writeable=False"),
    ],
)
@pytest.mark.parametrize("method", ["uniform", "normal", "truncated_normal"])
def test_array_errors(method, out, match):
    with pytest.raises(TypeError, match=match):
        getattr(Stream(0, "w"), method)(out)


def test_an_empty_purpose():
    with pytest.raises(ArgumentError, match="purpose is empty"):
        Stream(0, "w").child("")


def test_subsets_are_made_of_the_words_of_their_rows():
    words = Stream(3, "weight").words(20, 20).reshape(4, 5)
    philox.subsets(words, 30)
    assert np.array_equal(Stream(3, "weight").subsets(8, 30, 5)[4:], words)


@pytest.mark.parametrize(("size", "count"), [(5, 6), (5, -1), (2**32, 1)])
def test_more_than_there_are_cannot_be_chosen(size, count):
    with pytest.raises(ArgumentError, match=f"count is {count} and size {size}"):
        Stream(3, "weight").subsets(1, size, count)


@pytest.mark.parametrize(
    ("dtype", "value"), [("float16", 7e4), ("float32", 1e39), ("uint16", -4e38)]
)
def test_a_constant_that_a_type_cannot_hold_is_refused(dtype, value):
    with pytest.raises(ArgumentError, match="choose a smaller one or a wider dtype"):
        laws.fixed(value, np.dtype(dtype))
