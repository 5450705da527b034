"""`verify_checkpoint`: does a checkpoint hold what the plan draws, bit for bit?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isoinit._drawing.hashing import hash_sum, tensor_key
from isoinit._drawing.shard import Piece
from isoinit._planning.plan import Plan
from isoinit._showing.findings import Finding, Verdict, errors_first
from isoinit._showing.folding import kinds
from isoinit._showing.terminal import Printed, Tabled
from isoinit._system.modes import plain_torch
from isoinit._writing.assigning import needs_model
from isoinit._writing.fingerprint import Fingerprint
from isoinit.checkpoint import record as records
from isoinit.checkpoint.read import DAMAGE, Found, find_checkpoint
from isoinit.checkpoint.tensors import Array, Stored, drawn
from isoinit.checkpoint.told import Told, about_files, about_plan, finding, read_told
from isoinit.errors import ArgumentError, PlanError, escaped

_PIECE = 2**22  # elements


@dataclass(frozen=True)
class Verified(Verdict, Tabled):
    """The result of a verification.

    Attributes:
        directory: the folder.
        format: "safetensors" or "dcp".
        seed: the seed of the values; None if a damaged record does not hold it.
        compared: the number of tensors with the right bits.
        fingerprint: the fingerprint of the parameters, equal to `str(isoinit.fingerprint(model))` of a
            model that is loaded from the folder; None unless all parameters are right.
        findings: errors first; empty for a checkpoint without problems.
    """

    directory: Path
    format: str
    seed: int | None
    compared: int
    fingerprint: str | None
    findings: list[Finding]

    def to_json(self) -> str:
        """Return the verification as JSON."""
        return self._json(
            directory=str(self.directory),
            format=self.format,
            seed=self.seed,
            compared=self.compared,
            fingerprint=self.fingerprint,
        )

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the verdict and the findings as text.

        Findings that differ only in the numbers of names share a line.

        Args:
            verbose: whether every finding gets a line.
        """
        told = "holds what the plan draws" if self.ok else "does not hold what the plan draws"
        under = "" if self.seed is None else f" under seed {self.seed}"
        lines = [
            f"{escaped(str(self.directory))} {told}{under}: {self.compared} tensors are the same bit "
            f"for bit ({self.format})"
        ]
        lines += [f"fingerprint {self.fingerprint}"] if self.fingerprint else []
        found = list(map(str, self.findings)) if verbose else _folded(self.findings)
        return Printed("\n".join([*lines, *(f"  {line}" for line in found)]))


def _folded(findings: Sequence[Finding]) -> list[str]:
    """Return findings as lines: alike ones about names that differ in numbers as one.

    Advice that several lines in a row share stands behind the last of them.
    """
    found = kinds(findings, lambda f: f.where[0], lambda f: (f.name, f.severity, f.advice))
    lines = []
    for kind, after in zip_longest(found, found[1:]):
        first, *others = kind.items
        names = f"{kind.name} ({len(kind.items)}), such as " if others else ""
        shared = after is not None and after.items[0].advice == first.advice
        advice = "" if shared else f"; {first.advice}"
        lines.append(escaped(f"{first.severity}: {names}{first.sentence}{advice}"))
    if len(lines) < len(findings):
        lines.append("show(verbose=True) and isoinit verify --verbose list every finding")
    return lines


def verify_checkpoint(
    directory: str | os.PathLike[str], plan: Plan | None = None, seed: int | None = None
) -> Verified:
    """Return a bit-for-bit comparison of a checkpoint with the values that a plan draws.

    It works in pieces, without memory for the model. The checkpoint may be of safetensors files or of
    `torch.distributed.checkpoint`, also from another writer. In one that isoinit wrote, tensors that
    are not drawn (buffers, parameters without an initializer) are compared with their stored hashes,
    and the stored plan with its record.

    A safetensors file is read as strictly as `safetensors` reads it. Only regular files in the folder
    are opened: a symbolic link, a pipe or a device instead is a finding.

    Args:
        directory: the folder.
        plan: by default the plan that isoinit stored there.
        seed: by default the seed that isoinit stored there.

    Returns:
        The findings: the first element of each wrong tensor; tensors that are missing, not expected,
        or of another shape or dtype; files that are cut off, missing or changed; and a stored plan or
        record that cannot be read.

    Raises:
        ArgumentError: if the folder holds no checkpoint, or plan or seed are neither given nor stored.

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
        raise ArgumentError(f"{folder} is not a folder; expected a folder with a checkpoint")
    told = read_told(folder, plan, seed)
    record = told.record or {}
    found = find_checkpoint(folder, record.get("format"))
    aliases = {**(told.plan.aliases if told.plan else {}), **record.get("aliases", {})}
    wrong: list[Finding] = []
    expected = _expected(told, aliases, found, wrong)
    sums: dict[str, str] = {}
    with plain_torch():
        judged = list(_about_values(found, expected, record.get("tensors", {}), sums))
    findings = errors_first(
        [
            *told.findings,
            *about_files(folder, told, found),
            *about_plan(told),
            *wrong,
            *_about_names(found, expected, aliases, told.record),
            *(fault for fault in judged if fault is not None),
        ]
    )
    entries = {} if told.plan is None else told.plan.entries
    parameters = {name: digits for name, digits in sums.items() if name in entries}
    whole = not any(f.severity == "error" for f in findings) and len(parameters) == len(entries)
    fingerprint = str(Fingerprint(parameters)) if whole else None
    return Verified(folder, found.format, told.seed, judged.count(None), fingerprint, findings)


def _expected(
    told: Told, aliases: Mapping[str, str], found: Found, wrong: list[Finding]
) -> dict[str, Stored]:
    """What the plan draws, under each name by which the checkpoint may hold it.

    What no plan of isoinit gives is added to `wrong`.
    """
    tensors: dict[str, Stored] = {}
    if told.plan is None or told.seed is None:
        return tensors
    for entry in told.plan:
        if entry.initializer is None or needs_model(entry):
            continue
        names = [entry.name, *(alias for alias, first in aliases.items() if first == entry.name)]
        there = [name for name in names if name in found.tensors]
        try:
            tensors.update(dict.fromkeys(there or [entry.name], drawn(entry, told.seed)))
        except PlanError as error:
            advice = "pass the plan that the checkpoint was written with"
            wrong.append(finding("wrong plan", entry.name, str(error), advice))
    return tensors


def _about_names(
    found: Found,
    expected: Mapping[str, Stored],
    aliases: Mapping[str, str],
    record: Mapping[str, Any] | None,
) -> Iterator[Finding]:
    recorded = {} if record is None else record["tensors"]
    advice = "verify with the plan of this model" if record is None else "write it again"
    elsewhere = {first for alias, first in aliases.items() if alias in expected}
    for name in dict.fromkeys([*expected, *recorded]):
        if name not in found.tensors and name not in elsewhere:
            yield finding("missing tensor", name, f"{name!r:.200} is missing", advice)
    for name, tensor in found.tensors.items():
        if name in recorded:
            facts = recorded[name]  # where it has values, they are compared with their hash
            if "plan" in facts and (fault := _form(tensor, facts["dtype"], facts["shape"])):
                yield fault
            continue
        if record is None and name in expected:
            continue
        if record is None:
            said, severity = (
                f"{name!r:.200} is not drawn by the plan, so its values were not compared",
                "warning",
            )
        else:
            said, severity = f"{name!r:.200} is not in {records.NAME}", "error"
        yield finding("unexpected tensor", name, said, "find out which program wrote it", severity)


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
            yield finding("broken file", name, said, "write it again")


def _compare_hash(found: Stored, facts: Mapping[str, Any]) -> Finding | None:
    if (fault := _form(found, facts["dtype"], facts["shape"])) is not None:
        return fault
    if records.values_hash(found) == facts["values"]:
        return None
    said = f"{found.name!r} does not hold the values that were written"
    return finding("wrong tensor", found.name, said, "write it again")


def _form(found: Stored, kind: str, shape: Any) -> Finding | None:
    if found.kind == kind and found.shape == tuple(shape):
        return None
    said = (
        f"{found.name!r} is {found.kind} of shape {found.shape}, expected {kind} of {tuple(shape)}"
    )
    return finding("wrong tensor", found.name, said, "verify with the plan of this model")


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
        words = f"u{min(expected.dtype.itemsize, 8)}"  # of a complex128 two each
        wrong = theirs.view(words) != ours.view(words)
        wrong = wrong.reshape(theirs.size, -1).any(axis=1)
        if wrong.any():
            first = int(wrong.argmax())
            where = tuple(int(i) for i in np.unravel_index(start + first, expected.shape))
            was, wanted = (_value(x[first : first + 1], expected.dtype) for x in (theirs, ours))
            said = f"{found.name!r} at {list(where)} is {was!r}, expected {wanted!r}"
            advice = "check that seed and plan are those that the checkpoint was written with"
            value, limit = _real(was), _real(wanted)
            return finding("wrong tensor", found.name, said, advice, value=value, limit=limit)
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


def _value(element: Array, dtype: torch.dtype) -> float | complex:
    words = element.view(np.int16) if dtype == torch.bfloat16 else element
    value = torch.from_numpy(words).view(dtype).item()
    return value if isinstance(value, complex) else float(value)


def _real(value: float | complex) -> float:
    """What a finding can hold of a value as a number; its sentence has the rest."""
    return float("nan") if isinstance(value, complex) else value
