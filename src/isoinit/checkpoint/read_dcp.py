"""What a `torch.distributed.checkpoint` on the disk holds.

Its `.metadata` is a pickle. The reader of torch unpickles it, which may run any code; here it makes
the classes of such metadata and nothing else.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from isoinit._system.files import is_plain_name, open_regular
from isoinit._writing.fill import as_array
from isoinit.checkpoint.dcp import chunk_head
from isoinit.checkpoint.elements import from_file
from isoinit.checkpoint.tensors import KINDS, Array, Reader, Stored

# Module -> names; the classes of a `Metadata`, and what their fields are made of.
_METADATA = "torch.distributed.checkpoint.metadata"
_CLASSES = {
    _METADATA: {
        "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "TensorStorageMetadata",
        "BytesStorageMetadata", "ChunkStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size", *(str(dtype).removeprefix("torch.") for dtype in KINDS)},
    "torch.serialization": {"_get_layout"},
}  # fmt: skip
_PATHS = ("pathlib", "pathlib._local")  # where Python 3.13 has them


@dataclass(frozen=True)
class _Chunk:
    """A part of a tensor, and where it is stored."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    path: Path
    place: int
    length: int


@dataclass
class Parts:
    """What `.metadata` tells of.

    Attributes:
        tensors: what can be read, by name.
        faults: files that are not whole, and why, in words.
        files: the names of all that hold tensors.
    """

    tensors: dict[str, Stored] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)


def read_metadata(path: Path) -> Parts:
    """Return what `.metadata` tells of.

    Raises:
        OSError: if it cannot be opened or read.
        ValueError: if it is no regular file, or no such metadata.
    """
    with open_regular(path, links=False) as file:
        data = file.read()
    found: Parts = _contained(lambda: _parts(path.parent, _Unpickler(io.BytesIO(data)).load()))
    return found


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _CLASSES.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module in _PATHS:  # of the folder that it was written to
            return PurePosixPath
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise ValueError(
            f"it refers to {module}.{name}, which is not allowed in checkpoint metadata"
        )


def _parts(folder: Path, metadata: Any) -> Parts:
    from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

    parts = Parts()
    for name, facts in metadata.state_dict_metadata.items():
        if not isinstance(facts, TensorStorageMetadata) or facts.properties.dtype not in KINDS:
            continue  # not a tensor, or none that a plan could have drawn
        shape, dtype, chunks = tuple(facts.size), facts.properties.dtype, []
        for chunk in facts.chunks:
            info = metadata.storage_data[MetadataIndex(name, chunk.offsets)]
            chunks.append(_chunk(folder, tuple(chunk.offsets), tuple(chunk.sizes), info))
        _require_parts(name, shape, chunks)
        faults = dict(fault for chunk in chunks for fault in _faults(chunk))
        parts.faults |= faults
        parts.files |= {chunk.path.name for chunk in chunks}
        if not faults:
            parts.tensors[name] = Stored(name, dtype, shape, _from_chunks(chunks, dtype, shape))
    return parts


def _chunk(folder: Path, offsets: tuple[int, ...], sizes: tuple[int, ...], info: Any) -> _Chunk:
    """Return a chunk.

    Raises:
        ValueError: if it lies in no file of the folder.
    """
    if not is_plain_name(info.relative_path):
        raise ValueError(
            f"it names the file {info.relative_path!r:.80}; expected a file name in the same folder"
        )
    if any(type(n) is not int or n < 0 for n in (info.offset, info.length, *offsets, *sizes)):
        raise ValueError(f"it has the offset {info.offset!r:.40}; expected an integer of 0 or more")
    return _Chunk(offsets, sizes, folder / info.relative_path, info.offset, info.length)


def _require_parts(name: str, shape: tuple[int, ...], chunks: list[_Chunk]) -> None:
    """Raise ValueError unless the chunks make up the tensor: none beyond it, no gap, no overlap."""
    boxes = [tuple((o, o + n) for o, n in zip(c.offsets, c.sizes, strict=True)) for c in chunks]
    inside = all(
        len(box) == len(shape) and all(end <= n for (_, end), n in zip(box, shape, strict=True))
        for box in boxes
    )
    whole = sum(math.prod(chunk.sizes) for chunk in chunks) == math.prod(shape)
    boxes = sorted(box for box in boxes if all(begin < end for begin, end in box))
    if not inside or not whole or any(_overlaps(boxes)):
        raise ValueError(f"its parts of {name!r:.200} do not cover the shape {shape} exactly")


def _overlaps(boxes: list[tuple[tuple[int, int], ...]]) -> Iterator[bool]:
    """For sorted boxes, whether those that share a part of the first axis share an element."""
    for i, box in enumerate(boxes):
        for other in boxes[i + 1 :]:
            if box and other[0][0] >= box[0][1]:
                break
            yield all(a < d and c < b for (a, b), (c, d) in zip(box, other, strict=True))


def _faults(chunk: _Chunk) -> Iterator[tuple[str, str]]:
    name, end = chunk.path.name, chunk.place + chunk.length
    try:
        with open_regular(chunk.path, links=False) as file:
            size = file.seek(0, io.SEEK_END)
    except FileNotFoundError:
        yield name, "is missing"
    except (OSError, ValueError) as error:
        yield name, f"cannot be read ({error})"
    else:
        if size < end:
            yield name, f"has {size} bytes, expected at least {end}"


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
    size = len(head) + math.prod(chunk.sizes) * dtype.itemsize
    if _bytes(chunk, len(head)) == head and chunk.length == size:
        return from_file(chunk.path, chunk.place + len(head), dtype)()
    loaded: list[Array] = []

    def read(out: Array, start: int) -> None:
        if not loaded:
            loaded.append(as_array(_load(chunk, dtype).contiguous()))
        out[:] = loaded[0][start : start + out.size]
        if start + out.size == loaded[0].size:
            loaded.clear()

    return read


def _bytes(chunk: _Chunk, size: int) -> bytes:
    with open_regular(chunk.path, links=False) as file:
        file.seek(chunk.place)
        return file.read(min(size, chunk.length))


def _load(chunk: _Chunk, dtype: torch.dtype) -> torch.Tensor:
    data = io.BytesIO(_bytes(chunk, chunk.length))
    tensor = _contained(lambda: torch.load(data, weights_only=True))
    if not isinstance(tensor, torch.Tensor) or (tensor.dtype, tensor.shape) != (dtype, chunk.sizes):
        raise ValueError(f"{chunk.path.name} does not hold the expected data at byte {chunk.place}")
    return tensor


def _contained(read: Callable[[], Any]) -> Any:
    """What a pickle comes to; a damaged one raises anything.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
