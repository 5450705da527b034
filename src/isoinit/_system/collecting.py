"""Python's search for circles of objects, put off while many are made that are all kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Search for no circles in this block; what nothing refers to is freed as ever.

    A graph of a thousand blocks is made of a million objects, and Python looks at all of them each
    time their number has grown by a quarter. Not for blocks in which memory of the caller's may be
    left in circles: a run on real tensors.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
