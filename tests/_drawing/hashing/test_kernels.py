"""The compiled kernel gives the sums of the definition, in any number of threads."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isoinit._drawing.hashing import sums
from isoinit._drawing.hashing.threads import add


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([np.uint16, np.uint32, np.uint64]),
    st.lists(st.tuples(st.integers(0, 2**50), st.integers(0, 90_000)), min_size=1, max_size=4),
    st.integers(0, 2**64 - 1),
    st.integers(1, 3),
)
def test_same_sums_as_of_the_definition(dtype, runs, key, threads):
    starts, lengths = np.array(runs, np.int64).T
    high = np.iinfo(dtype).max
    bits = np.random.default_rng(0).integers(0, high, lengths.sum(), dtype, endpoint=True)
    assert add(bits, starts, lengths, key, threads) == sums.add(bits, starts, lengths, key)


def test_threads_share_one_long_run():
    bits = np.random.default_rng(0).integers(0, 2**32, 2_000_003, np.uint32)
    run = np.array([3]), np.array([len(bits)])
    assert add(bits, *run, 5, 3) == sums.add(bits, *run, 5)
