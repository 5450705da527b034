"""The format of `torch.distributed.checkpoint`, which loads it into models sharded in any way.

A file is one serialized tensor after another; `.metadata` tells where each chunk of a tensor lies. A
tensor is written as `torch.save` did before it made archives, which `torch.load` reads and which can
be written without knowing the values beforehand.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from isoinit._system.private import rebuild_tensor
from isoinit.checkpoint.files import Contents, File, Part, pack
from isoinit.checkpoint.tensors import KINDS, Stored
from isoinit.errors import ArgumentError, PlanError

METADATA = ".metadata"
CHUNK = 2**28  # bytes; a reader that needs a part of a chunk reads all of it


def require_distributed() -> None:
    """Raise unless this build of torch has the classes of such a checkpoint.

    Raises:
        ArgumentError: if it was built without torch.distributed, as some for macOS and Windows are.
    """
    if not torch.distributed.is_available():
        raise ArgumentError(
            f"this build of torch {torch.__version__} has no torch.distributed, which checkpoints of "
            'the format "dcp" need: use format="safetensors", or another build of torch'
        )


def dcp_contents(tensors: Sequence[Stored], most: int) -> Contents:
    """The files of such a checkpoint, and `.metadata`.

    Args:
        tensors: in the order in which they are packed.
        most: bytes of tensors a file.

    Raises:
        ArgumentError: if torch was built without torch.distributed.
    """
    require_distributed()
    groups = pack(tensors, most)
    files = [
        File(f"__0_{n}.distcp", tuple(part for tensor in group for part in _chunks(tensor)))
        for n, group in enumerate(groups)
    ]
    return Contents(tuple(files), File(METADATA, (Part(_metadata(files)),)))


def chunk_head(dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    """What stands before the elements of a chunk of this type and shape."""
    out = io.BytesIO()
    for item in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION):
        pickle.dump(item, out, protocol=2)
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    pickle.dump(system, out, protocol=2)
    _Pickler(out, protocol=2).dump(_Tensor(dtype, shape))
    pickle.dump(["0"], out, protocol=2)
    return out.getvalue() + math.prod(shape).to_bytes(8, "little")


class _Storage:
    """Stands for the memory of a tensor."""

    def __init__(self, dtype: torch.dtype, size: int) -> None:
        if not (kind := KINDS[dtype].storage):
            raise PlanError(
                f'nothing was written: the format "dcp" cannot store {dtype}, the type of a '
                'tensor. Use format="safetensors"'
            )
        self.key = ("storage", getattr(torch, kind), "0", "cpu", size, None)


class _Tensor:
    """Is pickled as a tensor of this type and shape would be."""

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape

    def __reduce__(self) -> tuple[Any, ...]:
        storage = _Storage(self.dtype, math.prod(self.shape))
        stride = torch.empty(self.shape, device="meta").stride()
        return rebuild_tensor, (storage, 0, self.shape, stride, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.key if isinstance(obj, _Storage) else None


def _chunks(tensor: Stored) -> Iterator[Part]:
    """A tensor by runs of rows that a reader can hold."""
    rows = tensor.shape[0] if tensor.shape else 1
    width = math.prod(tensor.shape[1:])
    step = max(1, CHUNK // max(1, width * tensor.dtype.itemsize))
    for row in range(0, max(rows, 1), step):
        count = min(step, rows - row)
        shape = (count, *tensor.shape[1:]) if tensor.shape else ()
        yield Part(chunk_head(tensor.dtype, shape), tensor, row * width, (row + count) * width)


def _metadata(files: Sequence[File]) -> bytes:
    # Importing it takes a second.
    from torch.distributed.checkpoint import metadata as dcp

    from isoinit._system.private import StorageInfo

    tensors: dict[str, dcp.STORAGE_TYPES] = {}
    places: dict[dcp.MetadataIndex, StorageInfo] = {}
    for file in files:
        begin = 0
        for part in file.parts:
            assert part.tensor is not None
            name, shape = part.tensor.name, part.tensor.shape
            offsets, sizes = _region(part)
            properties = dcp.TensorProperties(dtype=part.tensor.dtype)
            known = tensors.setdefault(
                name, dcp.TensorStorageMetadata(properties, torch.Size(shape), [])
            )
            assert isinstance(known, dcp.TensorStorageMetadata)
            known.chunks.append(dcp.ChunkStorageMetadata(offsets, sizes))
            index = dcp.MetadataIndex(name, offsets, len(known.chunks) - 1)
            places[index] = StorageInfo(file.name, begin, part.size)
            begin += part.size
    planner = {name: (name,) for name in tensors}
    found = dcp.Metadata(tensors, planner, places, dcp.StorageMeta())
    if hasattr(found, "version"):  # torch 2.9 added it, with None by default
        found.version = "1.0.0"
    return pickle.dumps(found, protocol=2)


def _region(part: Part) -> tuple[torch.Size, torch.Size]:
    """Where a chunk begins in its tensor, and its shape."""
    assert part.tensor is not None
    shape = part.tensor.shape
    if not shape:
        return torch.Size(()), torch.Size(())
    width = math.prod(shape[1:])
    first, last = (part.start // width, part.stop // width) if width else (0, shape[0])
    return torch.Size((first, *(0 for _ in shape[1:]))), torch.Size((last - first, *shape[1:]))
