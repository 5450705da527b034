"""What a checkpoint on the disk holds, read piece by piece."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isoinit._system.headers import read_header, read_index
from isoinit._writing.fill import as_array
from isoinit.checkpoint.dcp import METADATA, chunk_head
from isoinit.checkpoint.shards import INDEX, SINGLE
from isoinit.checkpoint.tensors import KINDS, Array, Reader, Stored
from isoinit.errors import ArgumentError

# What reading a damaged file raises, here.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass
class Found:
    """A checkpoint on the disk.

    Attributes:
        format: "safetensors" or "dcp".
        tensors: what can be read, by name.
        faults: files that are not whole, and why, in words.
    """

    format: str
    tensors: dict[str, Stored] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def find_checkpoint(folder: Path) -> Found:
    """Look at the checkpoint in a folder, whoever wrote it.

    `.metadata` of a "dcp" checkpoint is a pickle, which runs code when it is read, here as in torch.

    Raises:
        ArgumentError: if there is none.
    """
    if (folder / METADATA).is_file():
        return _find_dcp(folder)
    found = Found("safetensors")
    for name, expected in _shards(folder, found).items():
        tensors = _guarded(found, name, _read_header, folder / name)
        if lost := sorted(expected - tensors.keys()):
            found.faults.setdefault(name, f"lacks {', '.join(lost[:3])}, which {INDEX} has there")
        found.tensors.update(tensors)
    return found


def _shards(folder: Path, found: Found) -> dict[str, set[str]]:
    """The files of a safetensors checkpoint, and what its index says that each holds."""
    if (folder / INDEX).is_file():
        places = _guarded(found, INDEX, _read_index, folder / INDEX)
        files: dict[str, set[str]] = {}
        for name, file in places.items():
            files.setdefault(file, set()).add(name)
        return files
    if (folder / SINGLE).is_file():
        return {SINGLE: set()}
    loose = sorted(path.name for path in folder.glob("*.safetensors"))
    if not loose:
        raise ArgumentError(
            f"{folder} holds no checkpoint that is whole: expected {SINGLE}, {INDEX} or {METADATA}"
        )
    if len(loose) > 1:
        found.faults[INDEX] = "is missing, which is written last"
    return {name: set() for name in loose}


def _guarded(found: Found, name: str, read: Callable[[Path], dict[str, Any]], path: Path) -> Any:
    """What a file says, or nothing and a fault."""
    try:
        return read(path)
    except FileNotFoundError:
        found.faults[name] = "is missing"
    except DAMAGE as error:
        found.faults[name] = f"cannot be read ({error})"
    return {}


def _read_index(path: Path) -> dict[str, str]:
    return read_index(path, links=False)


def _read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file.

    Raises:
        ValueError: if it is cut off, or no such file.
    """
    dtypes = {kind.code: dtype for dtype, kind in KINDS.items()}
    header, begin = read_header(path, links=False)
    tensors = {}
    for name, facts in header.items():
        if facts.dtype not in dtypes:
            raise ValueError(f"{name!r} has type {facts.dtype}, which isoinit does not know")
        place = begin + facts.begin
        dtype, shape = dtypes[facts.dtype], facts.shape
        tensors[name] = Stored(name, dtype, shape, _from_file(path, place, dtype))
    return tensors


def _from_file(path: Path, place: int, dtype: torch.dtype) -> Callable[[], Reader]:
    def read(out: Array, start: int) -> None:
        with path.open("rb") as file:
            file.seek(place + start * dtype.itemsize)
            if file.readinto(out.view(np.uint8).data) != out.nbytes:
                raise ValueError(f"{path} ends too early")

    return lambda: read


@dataclass(frozen=True)
class _Chunk:
    """A part of a tensor, and where it is stored."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    path: Path
    place: int
    length: int


def _find_dcp(folder: Path) -> Found:
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

    found = Found("dcp")

    def read(path: Path) -> dict[str, Stored]:
        metadata = _unpickled(FileSystemReader(path.parent).read_metadata)
        places = metadata.storage_data
        tensors = {}
        for name, facts in metadata.state_dict_metadata.items():
            if not isinstance(facts, TensorStorageMetadata) or facts.properties.dtype not in KINDS:
                continue  # not a tensor, or none that a plan could have drawn
            chunks = []
            for chunk in facts.chunks:
                info = places[MetadataIndex(name, chunk.offsets)]
                where = (path.parent / info.relative_path, info.offset, info.length)
                chunks.append(_Chunk(tuple(chunk.offsets), tuple(chunk.sizes), *where))
            shape, dtype = tuple(facts.size), facts.properties.dtype
            if all(_is_there(found, chunk) for chunk in chunks):
                tensors[name] = Stored(name, dtype, shape, _from_chunks(chunks, dtype, shape))
        return tensors

    found.tensors.update(_guarded(found, METADATA, read, folder / METADATA))
    return found


def _is_there(found: Found, chunk: _Chunk) -> bool:
    name = chunk.path.name
    if not chunk.path.is_file():
        found.faults[name] = "is missing"
    elif (size := chunk.path.stat().st_size) < chunk.place + chunk.length:
        found.faults[name] = f"has {size} bytes, expected {chunk.place + chunk.length} or more"
    return name not in found.faults


def _from_chunks(
    chunks: list[_Chunk], dtype: torch.dtype, shape: tuple[int, ...]
) -> Callable[[], Reader]:
    width = math.prod(shape[1:])
    by_rows = all(chunk.sizes[1:] == shape[1:] for chunk in chunks)

    def open_rows() -> Reader:
        readers = [
            (math.prod(c.sizes), (c.offsets[0] if shape else 0) * width, _chunk_reader(c, dtype))
            for c in chunks
        ]

        def read(out: Array, start: int) -> None:
            for size, first, open_chunk in readers:
                begin, end = max(start, first), min(start + out.size, first + size)
                if begin < end:
                    open_chunk(out[begin - start : end - start], begin - first)

        return read

    def open_whole() -> Reader:
        whole = torch.empty(shape, dtype=dtype, device="cpu")
        for chunk in chunks:
            slices = (slice(o, o + n) for o, n in zip(chunk.offsets, chunk.sizes, strict=True))
            whole[tuple(slices)] = _load(chunk, dtype)
        values = as_array(whole)

        def read(out: Array, start: int) -> None:
            out[:] = values[start : start + out.size]

        return read

    return open_rows if by_rows else open_whole


def _chunk_reader(chunk: _Chunk, dtype: torch.dtype) -> Reader:
    """Reads a chunk in place where isoinit wrote it, and loads it otherwise."""
    head = chunk_head(dtype, chunk.sizes)
    with chunk.path.open("rb") as file:
        file.seek(chunk.place)
        ours = file.read(len(head)) == head
    if ours:
        return _from_file(chunk.path, chunk.place + len(head), dtype)()
    loaded: list[Array] = []

    def read(out: Array, start: int) -> None:
        if not loaded:
            loaded.append(as_array(_load(chunk, dtype).contiguous()))
        out[:] = loaded[0][start : start + out.size]
        if start + out.size == loaded[0].size:
            loaded.clear()

    return read


def _load(chunk: _Chunk, dtype: torch.dtype) -> torch.Tensor:
    with chunk.path.open("rb") as file:
        file.seek(chunk.place)
        data = io.BytesIO(file.read(chunk.length))
    tensor = _unpickled(lambda: torch.load(data, weights_only=True))
    if not isinstance(tensor, torch.Tensor) or (tensor.dtype, tensor.shape) != (dtype, chunk.sizes):
        raise ValueError(f"{chunk.path.name} holds something else at byte {chunk.place}")
    return tensor


def _unpickled(read: Callable[[], Any]) -> Any:
    """What a pickle holds; a damaged one raises whatever it comes to.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def partial_files(folder: Path) -> Iterator[str]:
    """Files of a write that did not come to its end."""
    yield from sorted(path.name for path in folder.glob(".*.partial"))
