"""Initial parameters of a tree straight to a safetensors file, without the tree in memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from isoinit._drawing.streams.laws import dtype_named
from isoinit._system.files import whole
from isoinit._writing.entry import Entry
from isoinit._writing.slice import fill_slice
from isoinit.errors import PlanError
from isoinit.jax.filling import Planned, entries_to_draw, resolved
from isoinit.jax.shardings import is_array
from isoinit.jax.spelling import every_leaf

PIECE = 2**25  # bytes that are drawn and written at a time
CODES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}


def write_checkpoint(
    plan: Planned, params: Any, path: str | os.PathLike[str], seed: int | None = 0
) -> None:
    """Write what `plan.fill(params, seed)` would make of a tree to a safetensors file; the same bits.

    Parameters are drawn 32 MiB at a time, so the tree may consist of `jax.ShapeDtypeStruct` and needs
    no memory. Initializers that need the whole matrix (`Orthogonal`, `Sparse`) take memory for one
    parameter. Arrays that the plan leaves as they were are stored with their values, and tied ones
    under each of their names. Leaves that are no arrays are not stored. One process writes the file;
    an existing one is replaced only by a whole one.

    Args:
        plan: the tree's.
        params: as for `Plan.fill`.
        path: the file, such as "model.safetensors". `safetensors.numpy.load_file` and
            `safetensors.flax.load_file` read it: a dictionary of arrays by name.
        seed: as for `Plan.fill`.

    Raises:
        PlanError: if the plan does not fit, or safetensors cannot hold a type or name; nothing was
            written.
        ArgumentError: as `Plan.fill` does.
        OSError: if the system refuses.

    Source: the safetensors specification.

    Example:
        >>> import isoinit, jax, pathlib, tempfile, torch
        >>> from isoinit.jax.checkpoints import write_checkpoint
        >>> plan = isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
        >>> params = {"weight": jax.ShapeDtypeStruct((2, 4), "float32"),
        ...           "bias": jax.ShapeDtypeStruct((2,), "float32")}
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.safetensors")
        >>> write_checkpoint(plan, params, path, seed=0)
        >>> from safetensors.numpy import load_file
        >>> load_file(path)["bias"]
        array([0., 0.], dtype=float32)
    """
    leaves = every_leaf(params)
    drawn = entries_to_draw(plan, leaves)
    # Wide types first, as safetensors itself does, so that every tensor is aligned.
    arrays = [(name, leaf) for name, leaf in leaves.items() if is_array(leaf)]
    arrays.sort(key=lambda pair: -pair[1].dtype.itemsize)
    _refuse_unstorable({name: leaf for name, leaf in arrays if name not in drawn}, dict(arrays))
    used = resolved(seed)
    with whole(Path(path)) as file:
        file.write(_header(arrays))
        for name, leaf in arrays:
            if name in drawn:
                for piece in _pieces(drawn[name], np.dtype(leaf.dtype), used):
                    file.write(piece)
            else:
                file.write(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    plan.seed = used


def _refuse_unstorable(kept: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Raise for arrays that the format cannot hold, or whose values this process lacks."""
    faults = []
    for name, leaf in arrays.items():
        if leaf.dtype.name not in CODES:
            faults.append(f"{name!r} is {leaf.dtype}, a type that safetensors cannot hold")
        elif name == "__metadata__" or any("\ud800" <= one <= "\udfff" for one in name):
            faults.append(f"safetensors cannot hold an array called {name!r}")
        elif name in kept and isinstance(leaf, jax.ShapeDtypeStruct):
            faults.append(
                f"{name!r} is kept unchanged, but is a ShapeDtypeStruct and has no values"
            )
        elif name in kept and isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            faults.append(
                f"{name!r} is kept unchanged, but other processes hold parts of its values"
            )
    if faults:
        raise PlanError(
            f"nothing was written: {'; '.join(faults)}. Pass a tree without these, or replace "
            "them with arrays that have values"
        )


def _header(arrays: list[tuple[str, Any]]) -> bytes:
    """Return the head of the file: its length, and type, shape and place of each array."""
    header, end = {}, 0
    for name, leaf in arrays:
        begin, end = end, end + math.prod(leaf.shape) * leaf.dtype.itemsize
        header[name] = {
            "dtype": CODES[leaf.dtype.name],
            "shape": leaf.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _pieces(entry: Entry, dtype: np.dtype[Any], seed: int) -> Iterator[memoryview]:
    """Give the bytes of a drawn parameter in order; each is good until the next one is made."""
    initializer, kind = entry.initializer, dtype_named(entry.dtype)
    assert initializer is not None
    assert kind is not None
    size = math.prod(entry.shape)
    alone = initializer.draws_alone(entry.layout, kind)
    step = min(PIECE // dtype.itemsize, size) if alone else size
    memory = np.empty(step, dtype)
    for start in range(0, size, max(step, 1)):
        part = slice(start, min(start + step, size))
        out = memory[: part.stop - part.start]
        fill_slice(out, initializer, entry.key, entry.shape, part, seed, layout=entry.layout)
        yield out.view(np.uint8).data
