"""What the compiled kernels share: the fallback without a cache, and threads that share work."""

import threading
import warnings

import pytest

from isoinit._drawing import jit
from isoinit.errors import IsoinitWarning


def test_what_cannot_be_cached_is_compiled_all_the_same(monkeypatch):
    """Numba has no folder for the code of a function without a file, as for one it may not write."""
    functions = {}
    exec("def one(x): return x + 1\ndef two(x): return x + 2", functions)
    monkeypatch.setattr(jit, "_cached", True)
    with pytest.warns(IsoinitWarning, match="Set NUMBA_CACHE_DIR to a writable folder"):
        one = jit.kernel(functions["one"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two = jit.kernel(functions["two"])
    assert (one(1), two(1)) == (2, 3)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_chunk_is_worked_on_once(threads):
    found = []
    jit.share(lambda i: found.append(i), [(i,) for i in range(100)], threads)
    assert sorted(found) == list(range(100))


def test_the_caller_works_too_and_no_more_threads_than_asked():
    names = set()
    barrier = threading.Barrier(2, timeout=60)

    def work():
        names.add(threading.get_ident())
        barrier.wait()

    jit.share(work, [(), ()], 2)
    assert len(names) == 2
    assert threading.get_ident() in names


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_reaches_the_caller(threads):
    def work(i):
        raise ValueError(f"chunk {i}")

    with pytest.raises(ValueError, match="chunk"):
        jit.share(work, [(i,) for i in range(4)], threads)


def test_available_threads_without_affinity(monkeypatch):
    monkeypatch.delattr(jit.os, "sched_getaffinity", raising=False)
    assert jit.available_threads() >= 1


@pytest.mark.parametrize(("ranks", "expected"), [("2", 4), ("3", 2), ("16", 1), ("0", 8), ("x", 8)])
def test_ranks_on_one_machine_share_its_processors(monkeypatch, ranks, expected):
    monkeypatch.setattr(jit.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert jit.available_threads() == expected
