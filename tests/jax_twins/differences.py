"""Where the plan of a JAX model differs from that of its torch twin."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import isoinit
from isoinit import Entry
from jax_twins.twin import Source, Twin

STD = 1e-3  # relative
EXPECTED = 0.02  # relative
# Of torch's own recurrent layers the size of the state is expected, of a loop's maps that of their
# outputs: these are two things, and are not compared.
STATES = ("rnn.weight_ih_l", "rnn.weight_hh_l")


class Row(NamedTuple):
    """One difference.

    Attributes:
        name: the JAX parameter.
        torch_name: the torch parameter, or the part of it, that it has its values from.
        what: "missing", "extra", "role", "initializer", "gain", "std", "expected" or "values".
        torch, jax: what the two plans say.
    """

    name: str
    torch_name: str
    what: str
    torch: Any
    jax: Any


def differences(twin: Twin) -> list[Row]:
    """Return each difference between the plans of a twin, in the order of its JAX names."""
    import isoinit.jax as ij

    model, batch = twin.build_torch()
    theirs = isoinit.plan(model, batch).entries
    ours = ij.plan(*twin.build_jax()).entries
    sources = twin.names()
    rows = [Row(name, "", "extra", None, ours[name]) for name in ours if name not in sources]
    for name, source in sources.items():
        entries = [theirs[part] for part in source.names]
        if name not in ours:
            rows.append(Row(name, ", ".join(source.names), "missing", entries[0], None))
        else:
            rows += _compared(name, source, entries, ours[name])
    return rows


def _compared(name: str, source: Source, theirs: list[Entry], ours: Entry) -> list[Row]:
    if not source.packing:
        return _whole(name, theirs[0], ours)
    if all(entry.initializer is not None and entry.initializer.is_fixed for entry in theirs):
        return _fixed(name, source, theirs, ours)
    return _packed(name, source, theirs, ours)


def _whole(name: str, theirs: Entry, ours: Entry) -> list[Row]:
    """All that the plan says of a parameter that is stored whole in both models."""
    found = [
        (what, getattr(theirs, what), getattr(ours, what), tolerance)
        for what, tolerance in (("gain", STD), ("std", STD), ("expected", EXPECTED))
    ]
    numbers = [
        Row(name, theirs.name, what, a, b)
        for what, a, b, near in found
        if not (_close(a, b, near) or (what == "expected" and theirs.name.startswith(STATES)))
    ]
    return _kinds(name, theirs, ours) + numbers


def _kinds(name: str, theirs: Entry, ours: Entry) -> list[Row]:
    found = [
        ("role", str(theirs.role), str(ours.role)),
        ("initializer", type(theirs.initializer).__name__, type(ours.initializer).__name__),
    ]
    return [Row(name, theirs.name, what, a, b) for what, a, b in found if a != b]


def _packed(name: str, source: Source, theirs: list[Entry], ours: Entry) -> list[Row]:
    """What holds of packed random weights too: the signal behind each is not compared.

    Nor is the gain of what is not packed as in torch: it follows from the shape of the matrix.
    """
    kinds = {type(entry.initializer) for entry in theirs}
    stds = [entry.std for entry in theirs]
    if len(kinds) > 1 or not all(_close(std, stds[0], STD) for std in stds):
        return _by_values(name, source, theirs, ours)
    rows = [row for entry in theirs for row in _kinds(name, entry, ours)]
    compared = ("gain", "std") if source.packing == "stacked" else ("std",)
    for entry in theirs:
        found = [(what, getattr(entry, what), getattr(ours, what)) for what in compared]
        rows += [Row(name, entry.name, what, a, b) for what, a, b in found if not _close(a, b, STD)]
    return rows


def _by_values(name: str, source: Source, theirs: list[Entry], ours: Entry) -> list[Row]:
    """Compare parts that start differently by the size of their values, within five sigma."""
    parts = ", ".join(source.names)
    if ours.initializer is None:
        return [Row(name, parts, "initializer", theirs[0].initializer, None)]
    blocks = isinstance(ours.initializer, isoinit.Blocks)
    made = ours.initializer.initializers if blocks else [ours.initializer]
    found = [
        ("role", [str(entry.role) for entry in theirs], str(ours.role).split("; ")),
        ("initializer", *([type(one).__name__ for one in each] for each in (_made(theirs), made))),
    ]
    # What packs several kinds can be called by any of them, if it does not tell its blocks apart.
    rows = [
        Row(name, parts, what, ", ".join(a), ", ".join(b))
        for what, a, b in found
        if (a != b if blocks else b[0] not in a)
    ]
    numbers = [np.full(entry.shape, i) for i, entry in enumerate(theirs)]
    whose, values = source.make(*numbers), _values(ours)
    for i, entry in enumerate(theirs):
        part = values[whose == i]
        size = float(np.sqrt(np.mean(part**2)))
        if not _close(entry.std, size, 5 / math.sqrt(2 * part.size)):
            rows.append(Row(name, entry.name, "std", entry.std, size))
    return rows


def _made(entries: list[Entry]) -> list[object]:
    return [entry.initializer for entry in entries]


def _fixed(name: str, source: Source, theirs: list[Entry], ours: Entry) -> list[Row]:
    """What is fixed is compared by its values, however gates and projections are packed."""
    parts = ", ".join(source.names)
    if ours.initializer is None or not ours.initializer.is_fixed:
        kinds = [", ".join(str(entry.initializer) for entry in theirs), str(ours.initializer)]
        return [Row(name, parts, "initializer", *kinds)]
    expected, found = source.make(*map(_values, theirs)), _values(ours)
    if np.allclose(expected, found, rtol=STD, atol=1e-6):
        return []
    return [Row(name, parts, "values", np.unique(expected), np.unique(found))]


def _values(entry: Entry) -> np.ndarray:
    assert entry.initializer is not None
    return isoinit.fill_slice(
        np.empty(entry.shape, np.float32),
        entry.initializer,
        entry.key,
        entry.shape,
        (),
        seed=0,
        layout=entry.layout,
    )


def _close(a: float | None, b: float | None, near: float) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=near, abs_tol=1e-9)
