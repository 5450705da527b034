"""The elements of a tensor that lie in a file one behind another, read from any of them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from isoinit._system.files import open_regular
from isoinit.checkpoint.tensors import Array, Reader


def from_file(path: Path, place: int, dtype: torch.dtype) -> Callable[[], Reader]:
    """Return what reads elements whose first is at this byte of a file; no link is followed."""

    def read(out: Array, start: int) -> None:
        with open_regular(path, links=False) as file:
            file.seek(place + start * dtype.itemsize)
            if file.readinto(out.view(np.uint8).data) != out.nbytes:
                raise ValueError(f"{path} is shorter than expected")

    return lambda: read
