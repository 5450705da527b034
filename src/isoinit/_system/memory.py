"""Fresh memory, and the size of the pages by which the system gives it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import cast


def ask_for_huge_pages(address: int, size: int) -> None:
    """Have the system give fresh memory by 2 MiB and not by 4 KiB: a large fill then takes half.

    Linux does so where it is asked to; nothing is lost where it will not, or has given it already.

    Args:
        address: where the memory begins.
        size: how many bytes it has.
    """
    page, advice = 2**21, 14  # MADV_HUGEPAGE
    first = -(-address // page) * page
    whole = (address + size - first) // page * page
    if whole > 0 and (madvise := _madvise()) is not None:
        madvise(first, whole, advice)


@lru_cache(maxsize=1)
def _madvise() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):  # Python without shared libraries, or another C library
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return cast("Callable[..., int]", function)
