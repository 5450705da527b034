"""Values that no seed repeats."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing.facts import Facts


def unseeded(facts: Facts) -> Iterator[Finding]:
    """Values that no generator of torch, Python or NumPy governs."""
    if names := tuple(n for n in facts.first.tensors if n in facts.unseeded):
        yield Finding(
            "not seeded",
            "warning",
            names,
            float(len(names)),
            0.0,
            "a start that cannot be repeated cannot be compared",
            "draw from torch's default generator, or from one that is seeded",
            f"{listed(names)}: other values at each run from the same seed",
        )
