"""The safetensors format, as `transformers` shards it.

A file is the length of its header (8 bytes), the header (JSON: type, shape and place of each tensor),
and the tensors without a gap. Source: the safetensors specification; for the index, huggingface_hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from isoinit.checkpoint.dcp import METADATA
from isoinit.checkpoint.files import Contents, File, Part, pack, text_file
from isoinit.checkpoint.tensors import KINDS, Stored
from isoinit.errors import PlanError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
READ_FIRST = (SINGLE, INDEX, METADATA)  # what readers look for


def safetensors_contents(
    tensors: Sequence[Stored], aliases: Mapping[str, str], most: int
) -> Contents:
    """The files of a safetensors checkpoint: one alone, or several and their index.

    Args:
        tensors: in the order in which they are packed.
        aliases: other names of tied tensors, which are noted beside the tensor that is stored.
        most: bytes of tensors a file.
    """
    groups = pack(tensors, most)
    if len(groups) == 1:
        return Contents((), _file(SINGLE, groups[0], aliases))
    count = len(groups)
    names = [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    places = {t.name: name for name, group in zip(names, groups, strict=True) for t in group}
    index = {
        "metadata": {"total_size": sum(tensor.bytes for tensor in tensors)},
        "weight_map": places,
    }
    files = (_file(name, group, aliases) for name, group in zip(names, groups, strict=True))
    return Contents(tuple(files), text_file(INDEX, json.dumps(index, indent=2) + "\n"))


def _file(name: str, tensors: Sequence[Stored], aliases: Mapping[str, str]) -> File:
    # Wide types first, as safetensors itself does, so that every tensor is aligned.
    tensors = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    here = {tensor.name for tensor in tensors}
    tied = {alias: first for alias, first in aliases.items() if first in here}
    header: dict[str, object] = {"__metadata__": {**tied, "format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.bytes
        if tensor.name == "__metadata__" or not _is_unicode(tensor.name):
            raise PlanError(
                "nothing was written: a safetensors file cannot hold a tensor called "
                f'{tensor.name!r}. Use format="dcp"'
            )
        if not (code := KINDS[tensor.dtype].code):
            raise PlanError(
                f"nothing was written: {tensor.name!r} is {tensor.dtype}, a type that safetensors "
                'cannot hold. Use format="dcp"'
            )
        header[tensor.name] = {"dtype": code, "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = Part(len(text).to_bytes(8, "little") + text)
    return File(name, (head, *(Part(b"", tensor, 0, tensor.size) for tensor in tensors)))


def _is_unicode(name: str) -> bool:
    """Return whether a name can be written; half of a surrogate pair can't."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
