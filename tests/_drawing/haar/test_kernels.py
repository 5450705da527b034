"""The compiled kernels give the bits of the definition, in any number of threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isoinit._drawing.haar import reflectors
from isoinit._drawing.haar.threads import multiply_out

DTYPES = [np.float32, np.float64]


def normals_for(stack, rows, columns, seed=0):
    k, n = sorted([rows, columns])
    return np.random.default_rng(seed).standard_normal((stack, k, n)).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=40)
@given(
    stack=st.integers(1, 3),
    rows=st.integers(1, 90),
    columns=st.integers(1, 90),
    gain=st.sampled_from([1.0, 0.3, 2**0.5]),
    threads=st.sampled_from([1, 2, 3]),
    together=st.booleans(),
)
@example(stack=1, rows=130, columns=130, gain=1.0, threads=2, together=True)
@example(stack=1, rows=70, columns=200, gain=1.0, threads=3, together=True)
@example(stack=2, rows=200, columns=66, gain=1.0, threads=1, together=False)
def test_same_bits_as_the_definition(dtype, stack, rows, columns, gain, threads, together):
    normals = normals_for(stack, rows, columns)
    plain, fast = np.zeros((stack, rows, columns), dtype), np.ones((stack, rows, columns), dtype)
    reflectors.multiply_out(normals, plain, gain)
    with pytest.MonkeyPatch.context() as patch:
        if together:
            patch.setattr("isoinit._drawing.haar.threads._SMALL", 0)
        multiply_out(normals, fast, gain, threads)
    assert np.array_equal(fast, plain)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), [(600, 600), (1000, 530), (530, 1000)])
def test_the_number_of_threads_changes_no_bit(rows, columns, dtype):
    normals = normals_for(1, rows, columns)
    one, several = np.zeros((1, rows, columns), dtype), np.zeros((1, rows, columns), dtype)
    multiply_out(normals, one, 1.0, 1)
    for threads in (2, 5):
        multiply_out(normals, several, 1.0, threads)
        assert np.array_equal(one, several)


def test_the_normals_may_lie_in_the_memory_of_the_result():
    normals = normals_for(3, 40, 50)
    apart, within = np.zeros((3, 40, 50), np.float32), normals.copy()
    multiply_out(normals, apart, 1.0, 1)
    multiply_out(within, within, 1.0, 1)
    assert np.array_equal(apart, within)


NARROW = """
import sys
import numpy as np
from isoinit._drawing.haar import kernels, reflectors, threads
normals = np.random.default_rng(0).standard_normal((2, 60, 75)).astype(np.float32)
fast, plain = np.zeros((2, 75, 60), sys.argv[1]), np.zeros((2, 75, 60), sys.argv[1])
threads.multiply_out(normals, fast, 1.0, 1)
reflectors.multiply_out(normals, plain, 1.0)
assert np.array_equal(fast, plain)
assert "zmm" not in "".join(kernels.multiply.inspect_asm().values())
"""


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_same_bits_on_a_processor_without_wide_vectors(tmp_path, dtype):
    """Numba compiles for another processor than this one, in a process and a cache of its own."""
    other = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    environment = {**os.environ, **other, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", NARROW, dtype], env=environment, check=True)
