"""The files of a checkpoint, before they are written: which bytes stand where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from isoinit.checkpoint.tensors import Stored


@dataclass(frozen=True)
class Part:
    """Bytes, and behind them elements `start` to `stop` of a tensor."""

    head: bytes
    tensor: Stored | None = None
    start: int = 0
    stop: int = 0

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        width = 0 if self.tensor is None else self.tensor.dtype.itemsize
        return len(self.head) + (self.stop - self.start) * width


@dataclass(frozen=True)
class File:
    """A file by its name, and what it holds."""

    name: str
    parts: tuple[Part, ...]

    @cached_property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class Contents:
    """The files of a checkpoint that hold tensors or tell where those are.

    Attributes:
        files: in any order.
        last: the file without which nothing reads the checkpoint; it is written when all others
            are whole.
    """

    files: tuple[File, ...]
    last: File


def text_file(name: str, text: str) -> File:
    """A file of text."""
    return File(name, (Part(text.encode()),))


def pack(tensors: Sequence[Stored], most: int) -> list[list[Stored]]:
    """Deal tensors into groups of at most so many bytes, in order; a larger one is a group alone."""
    groups: list[list[Stored]] = [[]]
    room = most
    for tensor in tensors:
        if tensor.bytes > room and groups[-1]:
            groups.append([])
            room = most
        groups[-1].append(tensor)
        room -= tensor.bytes
    return groups
