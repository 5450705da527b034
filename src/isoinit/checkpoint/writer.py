"""A file written while its next piece is made."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isoinit._drawing.streams.philox import BLOCK
from isoinit._system.files import whole
from isoinit.checkpoint.files import File
from isoinit.checkpoint.tensors import Array
from isoinit.errors import CheckpointError

PIECE = 2**25  # bytes
_ALIGNED = 64
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_file(folder: Path, file: File, advance: Callable[[int], None]) -> None:
    """Write one file, or leave nothing of it.

    Args:
        folder: where.
        file: what.
        advance: called with the number of bytes after each piece.

    Raises:
        CheckpointError: if the system refuses, such as on a full disk.
    """
    path = folder / file.name
    try:
        with whole(path) as out, ThreadPoolExecutor(1) as pool:
            waiting: Future[int] | None = None
            for views in pieces(file):
                if waiting is not None:
                    advance(waiting.result())
                waiting = pool.submit(_write, out, views)
            if waiting is not None:
                advance(waiting.result())
    except OSError as error:
        what = "free some disk space" if error.errno in _FULL else "fix this"
        raise CheckpointError(
            f"writing {path} failed: {error.strerror or error}. Complete files are kept, but the "
            f"folder is not a checkpoint yet. To continue, {what} and repeat the call"
        ) from error


def pieces(file: File) -> Iterator[list[Any]]:
    """A file's bytes in order, as lists of buffers; a list is good until the next but one is made."""
    memory = cycle([np.empty(PIECE, np.uint8), np.empty(PIECE, np.uint8)])
    views: list[Any] = []
    room = next(memory)
    tensor = read = None
    for part in file.parts:
        if part.head:
            views.append(part.head)
        if part.tensor is None:
            continue
        if part.tensor is not tensor:
            read = None  # before the next one takes memory
            tensor = part.tensor
            read = tensor.open()
        assert read is not None
        start = part.start
        while start < part.stop:
            count = _count(room.size // tensor.dtype.itemsize, part.stop - start)
            if not count:
                yield views
                views, room = [], next(memory)
                continue
            size = count * tensor.dtype.itemsize
            out: Array = room[:size]
            read(out.view(tensor.array), start)
            views.append(out)
            room = room[size + -size % _ALIGNED :]
            start += count
    if views:
        yield views


def _count(room: int, left: int) -> int:
    """How many elements to make at once: all that are left, or whole blocks of random numbers."""
    return left if left <= room else room - room % BLOCK


def _write(out: BinaryIO, views: list[Any]) -> int:
    start = out.tell()
    size = sum(out.write(view) for view in views)
    if hasattr(os, "posix_fadvise"):
        # Linux then starts to bring the pages to the disk, which would wait for the end otherwise.
        with suppress(OSError):  # not every file system does
            os.posix_fadvise(out.fileno(), start, size, os.POSIX_FADV_DONTNEED)
    return size
