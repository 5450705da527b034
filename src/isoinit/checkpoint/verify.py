"""`verify_checkpoint`: does a checkpoint hold what the plan draws, bit for bit?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isoinit._drawing.hashing import hash_sum, tensor_key
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams.philox import DEFINITION
from isoinit._planning.plan import Plan
from isoinit._showing.findings import Finding, Verdict, errors_first
from isoinit._system.modes import plain_torch
from isoinit._writing.assigning import needs_model
from isoinit._writing.fingerprint import Fingerprint
from isoinit._writing.seeds import resolve_seed
from isoinit.checkpoint import record as records
from isoinit.checkpoint.read import DAMAGE, Found, find_checkpoint, partial_files
from isoinit.checkpoint.tensors import Array, Stored, drawn
from isoinit.errors import ArgumentError

_PIECE = 2**22  # elements


@dataclass(frozen=True)
class Verified(Verdict):
    """What a verification found.

    Attributes:
        directory: the folder.
        format: "safetensors" or "dcp".
        seed: what the plan was drawn under.
        compared: how many tensors hold the right bits.
        fingerprint: that of the parameters, as `str(isoinit.fingerprint(model))` gives it for a model
            that was loaded from there; None unless all are there and right.
        findings: errors first; empty for a checkpoint that holds what it should and no more.
    """

    directory: Path
    format: str
    seed: int
    compared: int
    fingerprint: str | None
    findings: list[Finding]

    def to_json(self) -> str:
        """The verification as JSON."""
        return self._json(
            directory=str(self.directory),
            format=self.format,
            seed=self.seed,
            compared=self.compared,
            fingerprint=self.fingerprint,
        )

    def __str__(self) -> str:
        told = "holds what the plan draws" if self.ok else "does not hold what the plan draws"
        lines = [
            f"{self.directory} {told} under seed {self.seed}: {self.compared} tensors are the same "
            f"bit for bit ({self.format})"
        ]
        lines += [f"fingerprint {self.fingerprint}"] if self.fingerprint else []
        return "\n".join([*lines, *(f"  {finding}" for finding in self.findings)])


def verify_checkpoint(
    directory: str | os.PathLike[str], plan: Plan | None = None, seed: int | None = None
) -> Verified:
    """Compare every tensor of a checkpoint with what a plan draws, bit for bit.

    Piece by piece, so it takes no memory for the model. Any checkpoint of safetensors files or of
    `torch.distributed.checkpoint` can be verified, whoever wrote it; in one that isoinit wrote,
    tensors that are not drawn (buffers, parameters left as they were) are compared with their hashes.

    Args:
        directory: the folder.
        plan: by default the one that isoinit stored there.
        seed: by default the one that isoinit stored there.

    Returns:
        What is wrong: the first element of each wrong tensor, tensors that are missing, of another
        shape or type, or not expected, files that are cut off or missing.

    Raises:
        ArgumentError: if the folder holds no checkpoint, or plan or seed are neither given nor there.
        PlanError: if a stored plan or record cannot be read.

    Example:
        >>> import isoinit, tempfile, torch
        >>> from pathlib import Path
        >>> from safetensors.torch import save_model
        >>> model, batch = torch.nn.Linear(4, 2), torch.zeros(1, 4)
        >>> plan = isoinit.plan(model, batch)
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_model(plan.apply(model, seed=3), str(folder / "model.safetensors"))
        >>> [isoinit.verify_checkpoint(folder, plan, seed=seed).ok for seed in (3, 4)]
        [True, False]
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise ArgumentError(f"{folder} is no folder; expected one that holds a checkpoint")
    record = records.load_record(folder)
    if plan is None:
        if not (folder / records.PLAN).is_file():
            raise ArgumentError(f"{folder} holds no {records.PLAN}: pass the plan")
        plan = Plan.load(folder / records.PLAN)
    if seed is None and record is None:
        raise ArgumentError(f"{folder} holds no {records.NAME}: pass the seed")
    seed = record["seed"] if seed is None and record is not None else resolve_seed(seed)
    found = find_checkpoint(folder)
    expected = _expected(plan, seed, {**plan.aliases, **(record or {}).get("aliases", {})}, found)
    sums: dict[str, str] = {}
    with plain_torch():
        judged = list(_about_values(found, expected, (record or {}).get("tensors", {}), sums))
    findings = errors_first(
        [
            *_about_files(folder, found, record),
            *_about_names(found, expected, plan, record),
            *(fault for fault in judged if fault is not None),
        ]
    )
    parameters = {name: digits for name, digits in sums.items() if name in plan.entries}
    whole = not any(f.severity == "error" for f in findings) and len(parameters) == len(plan)
    fingerprint = str(Fingerprint(parameters)) if whole else None
    return Verified(folder, found.format, seed, judged.count(None), fingerprint, findings)


def _expected(plan: Plan, seed: int, aliases: Mapping[str, str], found: Found) -> dict[str, Stored]:
    """What the plan draws, under each name by which the checkpoint may hold it."""
    tensors = {}
    for entry in plan:
        if entry.initializer is None or needs_model(entry):
            continue
        names = [entry.name, *(alias for alias, first in aliases.items() if first == entry.name)]
        there = [name for name in names if name in found.tensors]
        tensors.update(dict.fromkeys(there or [entry.name], drawn(entry, seed)))
    return tensors


def _about_files(folder: Path, found: Found, record: Mapping[str, Any] | None) -> Iterator[Finding]:
    again = "write the checkpoint again with the same arguments, which makes what is missing"
    for name, why in found.faults.items():
        yield _finding("broken file", name, f"{name} {why}", "remove it, and " + again)
    for name, size in (record or {}).get("files", {}).items():
        path = folder / name
        if name in found.faults:
            continue
        if not path.is_file():
            yield _finding("unfinished write", name, f"{name} is missing", again)
        elif path.stat().st_size != size:
            said = f"{name} has {path.stat().st_size} bytes, expected {size}"
            yield _finding("broken file", name, said, "remove it, and " + again)
    for name in partial_files(folder):
        yield _finding("unfinished write", name, f"{name} is there: a write was stopped", again)
    if record is not None and record["definition"] != DEFINITION:
        said = f"random numbers of definition {record['definition']}, this isoinit has {DEFINITION}"
        yield _finding("other numbers", records.NAME, said, "use the isoinit that wrote it")


def _about_names(
    found: Found, expected: Mapping[str, Stored], plan: Plan, record: Mapping[str, Any] | None
) -> Iterator[Finding]:
    undrawn = {} if record is None else record["tensors"]
    advice = "verify with the plan of this model" if record is None else "write it again"
    for name in dict.fromkeys([*expected, *undrawn]):
        if name not in found.tensors and not _under_alias(name, plan, expected):
            yield _finding("missing tensor", name, f"{name!r} is missing", advice)
    for name in found.tensors:
        if name in expected or name in undrawn:
            continue
        if record is None:
            said, severity = f"{name!r} is not drawn, and nothing else tells its values", "warning"
        else:
            said, severity = f"{name!r} is there and not expected", "error"
        yield _finding("unexpected tensor", name, said, "see where it comes from", severity)


def _under_alias(name: str, plan: Plan, expected: Mapping[str, Stored]) -> bool:
    return any(first == name and alias in expected for alias, first in plan.aliases.items())


def _about_values(
    found: Found,
    expected: Mapping[str, Stored],
    recorded: Mapping[str, Any],
    sums: dict[str, str],
) -> Iterator[Finding | None]:
    """For each tensor that can be judged what is wrong with it, or None; `sums` gets their hashes."""
    for name, tensor in found.tensors.items():
        try:
            if name in expected:
                yield _compare(tensor, expected[name], sums)
            elif "values" in recorded.get(name, {}):
                yield _compare_hash(tensor, recorded[name])
                sums[name] = _sum_of(tensor)
        except DAMAGE as error:
            said = f"{name!r} cannot be read ({error})"
            yield _finding("broken file", name, said, "write it again")


def _compare_hash(found: Stored, facts: Mapping[str, Any]) -> Finding | None:
    if (fault := _form(found, facts["dtype"], facts["shape"])) is not None:
        return fault
    if records.values_hash(found) == facts["values"]:
        return None
    said = f"{found.name!r} holds other values than were written"
    return _finding("wrong tensor", found.name, said, "write it again")


def _form(found: Stored, kind: str, shape: Any) -> Finding | None:
    if found.kind == kind and found.shape == tuple(shape):
        return None
    said = (
        f"{found.name!r} is {found.kind} of shape {found.shape}, expected {kind} of {tuple(shape)}"
    )
    return _finding("wrong tensor", found.name, said, "verify with the plan of this model")


def _compare(found: Stored, expected: Stored, sums: dict[str, str]) -> Finding | None:
    """The first element that differs, or None; then `sums` gets the hash of the tensor."""
    if (fault := _form(found, expected.kind, expected.shape)) is not None:
        return fault
    read, make = found.open(), expected.open()
    total, key = 0, tensor_key(expected.name, str(expected.dtype), expected.shape)
    for start in range(0, expected.size, _PIECE):
        ours, theirs = (
            np.empty(min(_PIECE, expected.size - start), expected.array) for _ in range(2)
        )
        read(theirs, start)
        make(ours, start)
        words = f"u{expected.dtype.itemsize}"
        wrong = theirs.view(words) != ours.view(words)
        if wrong.any():
            first = int(wrong.argmax())
            where = tuple(int(i) for i in np.unravel_index(start + first, expected.shape))
            was, wanted = (_value(x[first : first + 1], expected.dtype) for x in (theirs, ours))
            said = f"{found.name!r} at {list(where)} is {was!r}, expected {wanted!r}"
            advice = "see whether seed and plan are those that it was written with"
            return _finding("wrong tensor", found.name, said, advice, value=was, limit=wanted)
        total += hash_sum(theirs, Piece.run(start, theirs.size), key)
    sums[expected.name] = f"{total % 2**64:016x}"
    return None


def _sum_of(tensor: Stored) -> str:
    """The hash of a tensor as it is in the fingerprint of a model."""
    read, key, total = tensor.open(), tensor_key(tensor.name, str(tensor.dtype), tensor.shape), 0
    for start in range(0, tensor.size, _PIECE):
        values = np.empty(min(_PIECE, tensor.size - start), tensor.array)
        read(values, start)
        total += hash_sum(values, Piece.run(start, values.size), key)
    return f"{total % 2**64:016x}"


def _value(element: Array, dtype: torch.dtype) -> float:
    words = element.view(np.int16) if dtype == torch.bfloat16 else element
    return float(torch.from_numpy(words).view(dtype).item())


def _finding(
    name: str,
    where: str,
    said: str,
    advice: str,
    severity: str = "error",
    *,
    value: float = float("nan"),
    limit: float = float("nan"),
) -> Finding:
    source = "a checkpoint is what its plan draws, or something else"
    return Finding(name, severity, (where,), value, limit, source, advice, said)
