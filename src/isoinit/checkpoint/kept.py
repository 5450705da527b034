"""Files that an earlier run wrote, compared with what this one would write, without drawing anything.

What a plan draws is compared by its size alone: to draw it costs as much as to write it again, and
the record cannot hold its hash, for it is written before. `verify_checkpoint` compares it.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from isoinit._system.files import open_regular
from isoinit.checkpoint.files import File, Part

_PIECE = 2**22  # elements


def difference(path: Path, file: File) -> str:
    """Return how a file on the disk differs from what would be written, in words; "" if it does not.

    Compared are the size, all bytes outside of tensors (headers, indexes, configs), and tensors that
    have their values: buffers, and parameters that the plan leaves as they were.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no regular file.
    """
    with open_regular(path, links=False) as found:
        size = os.fstat(found.fileno()).st_size
        if size != file.size:
            return f"has {size} bytes, expected {file.size}"
        for part in file.parts:
            if found.read(len(part.head)) != part.head:
                return "has a header or text that differs from what would be written"
            if part.tensor is None:
                continue
            if part.tensor.drawn is not None:
                found.seek(part.size - len(part.head), io.SEEK_CUR)
            elif not _holds(found, part):
                return f"holds different values of {part.tensor.name!r}"
    return ""


def _holds(found: io.BufferedReader, part: Part) -> bool:
    """Whether the next bytes of a file are the elements of a part."""
    assert part.tensor is not None
    read = part.tensor.open()
    for start in range(part.start, part.stop, _PIECE):
        values = np.empty(min(_PIECE, part.stop - start), part.tensor.array)
        read(values, start)
        if found.read(values.nbytes) != values.tobytes():
            return False
    return True
