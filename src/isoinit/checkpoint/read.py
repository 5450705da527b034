"""What a checkpoint on the disk holds, read piece by piece; nothing outside of its folder is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isoinit._system.files import kind_of
from isoinit._system.headers import read_header, read_index
from isoinit.checkpoint.dcp import METADATA, require_distributed
from isoinit.checkpoint.elements import from_file
from isoinit.checkpoint.read_dcp import read_metadata
from isoinit.checkpoint.shards import INDEX, SINGLE
from isoinit.checkpoint.tensors import KINDS, Stored
from isoinit.errors import ArgumentError

# What reading a damaged file raises, here.
DAMAGE = (OSError, ValueError)


@dataclass
class Found:
    """A checkpoint on the disk.

    Attributes:
        format: "safetensors" or "dcp".
        tensors: what can be read, by name.
        faults: files that are not whole, and why, in words.
        files: those that hold tensors, as far as it tells.
    """

    format: str
    tensors: dict[str, Stored] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)


def find_checkpoint(folder: Path, layout: str | None = None) -> Found:
    """Look at the checkpoint in a folder, whoever wrote it. No symbolic link is followed.

    Args:
        folder: the folder.
        layout: its format, where that is known.

    Raises:
        ArgumentError: if there is none, or torch was built without what reads it.
    """
    if layout is None:
        layout = "dcp" if kind_of(folder / METADATA) else "safetensors"
    found = Found(layout)
    if layout == "dcp":
        require_distributed()
        parts = _guarded(found, METADATA, read_metadata, folder / METADATA)
        if parts is not None:
            found.tensors.update(parts.tensors)
            found.faults.update(parts.faults)
            found.files.update(parts.files)
        return found
    places: dict[str, str] = {}
    for name, expected in _shards(folder, found).items():
        found.files.add(name)
        tensors = _guarded(found, name, _read_tensors, folder / name) or {}
        if lost := sorted(expected - tensors.keys()):
            said = ", ".join(map(repr, lost[:3]))
            found.faults.setdefault(name, f"does not hold {said}, but {INDEX} says that it does")
        if more := sorted(tensors.keys() - expected if expected else tensors.keys() & places):
            said = ", ".join(map(repr, more[:3]))
            where = (
                f"{INDEX} does not list for this file" if expected else "another file also holds"
            )
            found.faults.setdefault(name, f"holds {said}, which {where}")
        found.tensors.update(tensors)
        places.update(dict.fromkeys(tensors, name))
    return found


def _shards(folder: Path, found: Found) -> dict[str, set[str]]:
    """The files of a safetensors checkpoint, and what its index says that each holds."""
    single = bool(kind_of(folder / SINGLE))
    if kind_of(folder / INDEX):
        if single:
            found.faults[SINGLE] = f"and {INDEX} are both there, and readers use only one of them"
        files: dict[str, set[str]] = {}
        for name, file in (_guarded(found, INDEX, _read_index, folder / INDEX) or {}).items():
            files.setdefault(file, set()).add(name)
        return files
    if single:
        return {SINGLE: set()}
    loose = sorted(path.name for path in folder.glob("*.safetensors"))
    if not loose:
        raise ArgumentError(
            f"{folder} holds no complete checkpoint; expected {SINGLE}, {INDEX} or {METADATA}"
        )
    if len(loose) > 1:
        found.faults[INDEX] = "is missing (it is written last)"
    return {name: set() for name in loose}


def _guarded(found: Found, name: str, read: Callable[[Path], Any], path: Path) -> Any:
    """What a file says, or None and a fault."""
    try:
        return read(path)
    except FileNotFoundError:
        found.faults[name] = "is missing"
    except DAMAGE as error:
        found.faults[name] = f"cannot be read ({error})"
    return None


def _read_index(path: Path) -> dict[str, str]:
    return read_index(path, links=False)


def _read_tensors(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file.

    Raises:
        OSError: if it cannot be opened or read.
        ValueError: if it is cut off, or no such file.
    """
    dtypes = {kind.code: dtype for dtype, kind in KINDS.items() if kind.code}
    header, begin = read_header(path, links=False)
    tensors = {}
    for name, facts in header.items():
        if facts.dtype not in dtypes:
            raise ValueError(f"{name!r:.200} has type {facts.dtype}, which isoinit cannot read")
        dtype = dtypes[facts.dtype]
        reader = from_file(path, begin + facts.begin, dtype)
        tensors[name] = Stored(name, dtype, facts.shape, reader)
    return tensors


def partial_files(folder: Path) -> Iterator[str]:
    """Files of a write that did not come to its end."""
    yield from sorted(path.name for path in folder.glob(".*.partial"))
