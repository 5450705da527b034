"""What a safetensors file says that it holds: its header, without the values.

A header is taken where the `safetensors` package takes it, so that nothing is read here that another
reader refuses, or reads otherwise. Its rules, from `SafeTensors::read_metadata` and
`Metadata::validate` (huggingface/safetensors, safetensors/src/tensor.rs, 0.8): the file is 8 bytes of
length, a header of at most 100 MB in UTF-8 and JSON, and the values, which begin where the last
tensor's end: no gap, no overlap, nothing behind. Only what the format forbids and that package's
parser lets pass is refused here too: a key that is there twice (the last would win), a tensor given
as a list, and a type given as an object. Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from isoinit._system.files import is_plain_name, open_regular, read_text
from isoinit._system.json_text import parse_json

MOST = 100_000_000  # bytes of a header, and here of an index
BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
_FIELDS = {"dtype", "shape", "data_offsets"}
_WORD = 2**64
_DEEPEST = 125  # levels of a further field: serde_json takes 127, and two are around it


class Header(NamedTuple):
    """One tensor, as a header tells of it.

    Attributes:
        dtype: the name of its type: "F32".
        shape: its shape.
        begin, end: its bytes, counted from where the values begin.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path, *, links: bool) -> tuple[dict[str, Header], int]:
    """Return what every tensor of a safetensors file is, by name, and the byte at which values begin.

    Args:
        path: the file.
        links: whether a symbolic link is followed.

    Raises:
        OSError: if the file cannot be opened or read.
        ValueError: if it is no regular file, is cut off, or its header is none that safetensors takes.
    """
    with open_regular(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        if size < 8:
            raise ValueError(f"it has {size} bytes, expected 8 bytes and a header")
        length = int.from_bytes(file.read(8), "little")
        if length > MOST:
            raise ValueError(f"its header has a length of {length} bytes, expected at most {MOST}")
        if length > size - 8:
            raise ValueError(f"it has {size} bytes, less than its header")
        tensors = parse_header(file.read(length))
    end = max((tensor.end for tensor in tensors.values()), default=0)
    if size != 8 + length + end:
        raise ValueError(f"it has {size} bytes, expected {8 + length + end}")
    return tensors, 8 + length


def parse_header(data: bytes) -> dict[str, Header]:
    """Return the tensors of a header, in its order.

    Raises:
        ValueError: if safetensors would not take it.
    """
    try:
        header = parse_json(data.decode("utf-8"), strict=True)
    except ValueError as error:
        raise ValueError(f"its header is not valid JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    notes = header.pop("__metadata__", None)
    if notes is not None and not _all_text(notes):
        raise ValueError("its __metadata__ holds values that are not text")
    tensors = {name: _tensor(name, facts) for name, facts in header.items()}
    start = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if tensor.begin != start:
            what = "overlaps what is" if tensor.begin < start else "leaves a gap"
            raise ValueError(
                f"{name!r:.200} begins at byte {tensor.begin} of the values and {what} before it; "
                f"expected {start}"
            )
        start = tensor.end
    return tensors


def _tensor(name: str, facts: Any) -> Header:
    """Return one tensor of a header.

    Raises:
        ValueError: if it is none, or its bytes are not as many as its shape and type take.
    """
    if not isinstance(facts, dict) or not facts.keys() >= _FIELDS:
        raise ValueError(f"{name!r:.200} is not an object with dtype, shape and data_offsets")
    dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"{name!r:.200} has type {dtype!r:.40}; expected one of {', '.join(BITS)}")
    if not _whole_numbers(shape):
        raise ValueError(f"{name!r:.200} has shape {shape!r:.40}; expected a list of integers")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r:.200} has data_offsets {offsets!r:.40}; expected two integers")
    if any(_nests(more, _DEEPEST) for key, more in facts.items() if key not in _FIELDS):
        raise ValueError(f"{name!r:.200} has a field that is nested too deeply")
    bits = 1
    for factor in (*shape, BITS[dtype]):
        bits *= factor
        if bits >= _WORD:  # in this order: a zero behind does not help
            raise ValueError(
                f"{name!r:.200} has more elements than a 64-bit integer can count: {shape!r:.40}"
            )
    begin, end = offsets
    if bits % 8 or end - begin != bits // 8:
        raise ValueError(
            f"{name!r:.200} has {end - begin} bytes, but {dtype} of shape {shape!r:.40} takes "
            f"{bits / 8:g}"
        )
    return Header(dtype, tuple(shape), begin, end)


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _all_text(values: Any) -> bool:
    """Whether it is a mapping of text to text."""
    return isinstance(values, Mapping) and all(isinstance(v, str) for v in values.values())


def _nests(value: Any, most: int) -> bool:
    """Whether lists and objects stand in one another more than so many levels deep."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, (list, dict))]:
        depth += 1
        if depth > most:
            return True
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v)]
    return False


def read_index(path: Path, *, links: bool) -> dict[str, str]:
    """Return the file that holds each tensor of a sharded checkpoint, from its index.

    Args:
        path: the index.
        links: whether a symbolic link is followed.

    Raises:
        OSError: if the file cannot be opened or read.
        ValueError: if it is no regular file or no index, or names a file that is not beside it.
    """
    index = parse_json(read_text(path, links=links, most=MOST))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not _all_text(places):
        raise ValueError('it is not an index; expected "weight_map" with the file of each tensor')
    for name, file in places.items():
        if not is_plain_name(file):
            raise ValueError(
                f"it has {name!r:.200} in {file!r:.80}; expected the name of a file in the same folder"
            )
    return dict(places)
