"""`isoinit.json`: what decides every byte of a checkpoint, to go on with it or to verify it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from isoinit._drawing.streams.philox import DEFINITION
from isoinit._system.files import is_plain_name, read_text
from isoinit._system.formats import Format
from isoinit._version import __version__
from isoinit._writing.entry import Entry
from isoinit.checkpoint.files import File
from isoinit.checkpoint.tensors import Stored
from isoinit.errors import PlanError

NAME, PLAN = "isoinit.json", "isoinit_plan.json"
FORMAT = Format("kind", "isoinit checkpoint", 1, "record", "use the isoinit that wrote it")
_FACTS = ("seed", "format", "max_shard_size", "isoinit", "definition", "aliases")
SAFE = ".safetensors"
_HASHED = 2**25


def make_record(
    tensors: Iterable[Stored],
    aliases: Mapping[str, str],
    files: Iterable[File],
    texts: Iterable[File],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of a checkpoint.

    Args:
        tensors: what it holds.
        aliases: the further names of tied tensors.
        files: all files but the record itself.
        texts: those whose bytes the tensors do not decide.
        options: the seed, the format and the size of shards.
    """
    files = list(files)
    record = {
        **options,
        "isoinit": __version__,
        "definition": DEFINITION,
        "aliases": dict(aliases),
        "texts": {file.name: _hash(part.head for part in file.parts) for file in texts},
        "headers": {f.name: header_facts(f.parts[0].head) for f in files if f.name.endswith(SAFE)},
        "tensors": {tensor.name: _facts(tensor) for tensor in tensors},
        "files": {file.name: file.size for file in files},
    }
    return {**FORMAT.header, "digest": digest_of(record), **record}


def digest_of(record: Mapping[str, Any]) -> str:
    """The hash of a record's contents."""
    kept = {k: v for k, v in record.items() if k not in (*FORMAT.header, "digest")}
    return _hash([json.dumps(kept, sort_keys=True).encode()])


def load_record(folder: Path) -> dict[str, Any] | None:
    """Read the record of a folder; None if there is none. No symbolic link is followed.

    Raises:
        PlanError: if it cannot be read, is not one that this version wrote, or was changed.
    """
    path = folder / NAME
    try:
        record = FORMAT.parse(read_text(path, links=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # among them PlanError
        raise PlanError(f"{path}: {error}") from None
    if fault := next(_faults(record), None):
        raise PlanError(f"{path} is not a valid record: {fault}")
    if record["digest"] != digest_of(record):
        raise PlanError(f"{path} was changed after it was written: its digest does not match")
    return record


def _faults(record: Mapping[str, Any]) -> Iterator[str]:
    """What is not as `make_record` makes it, in words; a digest can be made to fit anything."""
    for name in dict.fromkeys((*_FIELDS, *record)):
        if name not in _FIELDS or name not in record:
            yield f"{name!r:.80} is {'missing' if name in _FIELDS else 'not a known field'}"
        elif not _FIELDS[name](record[name]):
            yield f"{name!r} is {record[name]!r:.80}"


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _by_name(name: Callable[[Any], bool], value: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """What tells whether something is a mapping of such names to such values."""
    return lambda found: (
        isinstance(found, dict) and all(name(n) and value(v) for n, v in found.items())
    )


def _is_tensor(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and facts.keys() in ({"dtype", "shape", "plan"}, {"dtype", "shape", "values"})
        and isinstance(facts["shape"], list)
        and all(map(_is_whole, facts["shape"]))
        and all(_is_text(value) for key, value in facts.items() if key != "shape")
    )


def _is_header(facts: Any) -> bool:
    return (
        isinstance(facts, list) and len(facts) == 2 and _is_whole(facts[0]) and _is_text(facts[1])
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    FORMAT.key: _is_text,
    "version": _is_whole,
    "digest": _is_text,
    "seed": lambda value: type(value) is int,
    "format": lambda value: value in ("safetensors", "dcp"),
    "max_shard_size": _is_whole,
    "isoinit": _is_text,
    "definition": _is_whole,
    "aliases": _by_name(_is_text, _is_text),
    "texts": _by_name(is_plain_name, _is_text),
    "headers": _by_name(is_plain_name, _is_header),
    "tensors": _by_name(_is_text, _is_tensor),
    "files": _by_name(is_plain_name, _is_whole),
}


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What one record says otherwise than another, in words."""
    said = [
        f"{fact} is {found.get(fact)!r}, not {expected.get(fact)!r}"
        for fact in _FACTS
        if found.get(fact) != expected.get(fact)
    ]
    said += _tensor_differences(found["tensors"], expected["tensors"])
    said += [
        f"{name} has a different text"
        for name in dict.fromkeys([*found["texts"], *expected["texts"]])
        if found["texts"].get(name) != expected["texts"].get(name)
    ]
    return said or ["the tensors are divided among the files differently"]


def _tensor_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*found, *expected]):
        mine, other = found.get(name), expected.get(name)
        if mine is None or other is None:
            yield f"{name!r} is {'missing' if mine is None else 'there'}"
            continue
        for fact in ("dtype", "shape"):
            if mine[fact] != other[fact]:
                yield f"{name!r} has {fact} {mine[fact]}, not {other[fact]}"
        if mine.get("plan") != other.get("plan"):
            yield f"the plan has different values for {name!r}"
        if mine.get("values") != other.get("values"):
            yield f"{name!r} (not drawn by the plan) holds different values"


def values_hash(tensor: Stored) -> str:
    """The hash of a tensor's bytes."""
    read = tensor.open()

    def chunks() -> Iterator[Any]:
        step = _HASHED // tensor.dtype.itemsize
        for start in range(0, tensor.size, step):
            out = np.empty(min(step, tensor.size - start), tensor.array)
            read(out, start)
            yield out.view(np.uint8)

    return _hash(chunks())


def _facts(tensor: Stored) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": tensor.kind, "shape": list(tensor.shape)}
    if tensor.drawn is None:
        return {**facts, "values": values_hash(tensor)}
    return {**facts, "plan": plan_hash(tensor.drawn)}


def plan_hash(entry: Entry) -> str:
    """Return the hash of what a plan gives a parameter that it draws."""
    assert entry.initializer is not None
    decided = [entry.initializer.to_dict(), asdict(entry.layout)]
    return _hash([json.dumps(decided, sort_keys=True).encode()])


def header_facts(head: bytes) -> list[Any]:
    """Return how many bytes stand before the values of a safetensors file, and their hash."""
    return [len(head), _hash([head])]


def text_hash(text: bytes) -> str:
    """Return the hash of a file of text, as `texts` holds it."""
    return _hash([text])


def _hash(chunks: Iterable[Any]) -> str:
    hashed = blake2b(digest_size=16)
    for chunk in chunks:
        hashed.update(chunk)
    return hashed.hexdigest()


def to_text(record: Mapping[str, Any]) -> str:
    """A record as it is written."""
    return json.dumps(record, indent=1) + "\n"
