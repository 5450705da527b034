"""What a safetensors file says that it holds: its header, without the values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the type, shape and place of every tensor of a safetensors file, by name.

    Returns:
        The facts as they are stored, and the byte at which the values begin.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is cut off, or no such file.

    Source: https://github.com/huggingface/safetensors#format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ValueError(f"it has {size} bytes, less than its header")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    end = max((facts["data_offsets"][1] for facts in header.values()), default=0)
    if size != 8 + length + end:
        raise ValueError(f"it has {size} bytes, expected {8 + length + end}")
    return header, 8 + length


def read_index(path: Path) -> dict[str, str]:
    """Return the file that holds each tensor of a sharded checkpoint, from its index.

    Raises:
        OSError: if the file cannot be read.
        ValueError, KeyError, TypeError: if it is no index.
    """
    return dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
