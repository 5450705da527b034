"""What the way over the meta device makes of a model: other tensors, other ties, none at all."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing.facts import Facts


def left_there(facts: Facts) -> Iterator[Finding]:
    """Attributes that are neither parameters nor buffers, and stay without memory."""
    if names := facts.first.lost:
        yield Finding(
            "left on meta",
            "error",
            names,
            float(len(names)),
            0.0,
            "to_empty gives memory only to parameters and buffers",
            "make such a tensor a buffer (register_buffer with persistent=False), and write it",
            f"{listed(names)}: held as {'plain attributes' if len(names) > 1 else 'a plain attribute'}"
            ", still on the meta device after the initialization",
        )


def ties_lost(facts: Facts) -> Iterator[Finding]:
    """Parameters that are one when built on the processor, and come apart on the meta device."""
    if facts.straight is None:
        return
    now = facts.first
    apart = [
        (name, other)
        for other, name in facts.straight[0].aliases.items()
        if now.aliases.get(other, other) != now.aliases.get(name, name)
    ]
    if apart:
        names = tuple(dict.fromkeys(n for pair in apart for n in pair))
        yield Finding(
            "tie lost",
            "error",
            names,
            float(len(apart)),
            0.0,
            "to_empty gives each name its own memory, so tied parameters are separated",
            "tie them again in the initialization, after to_empty",
            f"{listed([f'{a} and {b}' for a, b in apart])}: one parameter if the model is built "
            "directly on the CPU, two after to_empty and the initialization",
        )


def not_there(facts: Facts) -> Iterator[Finding]:
    """Tensors that only one way of building makes."""
    if facts.straight is None:
        return
    there, now = facts.straight[0], facts.first
    here = {*now.tensors, *now.aliases}
    names = tuple(n for n in [*there.tensors, *there.aliases] if n not in here)
    if names:
        yield Finding(
            "not there",
            "error",
            names,
            float(len(names)),
            0.0,
            "a model has the same tensors wherever it is built",
            "make them in __init__ on any device",
            f"{listed(names)}: created if the model is built on the CPU, but not on the meta device",
        )


def not_built(facts: Facts) -> Iterator[Finding]:
    """A constructor that needs values."""
    if facts.no_meta:
        yield Finding(
            "not built on meta",
            "warning",
            (),
            0.0,
            0.0,
            "a tensor on the meta device has no values",
            "compute such numbers in Python, or under torch.device('cpu')",
            f"the model cannot be built on the meta device ({facts.no_meta}), so it was built on the "
            "CPU, and attributes that the meta device would lose were not checked",
        )
