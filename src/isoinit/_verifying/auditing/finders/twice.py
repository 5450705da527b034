"""Values written over before anything read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing.facts import Facts


def twice(facts: Facts) -> Iterator[Finding]:
    """Values written over before anything read them."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, lines in facts.writes.twice.items():
        groups[lines.first, lines.second].append(name)
    for (first, second), names in groups.items():
        again = "again" if first == second else f"and then at {second}"
        yield Finding(
            "written twice",
            "warning",
            tuple(names),
            2.0,
            1.0,
            "the first values are lost: time is, and what is left depends on the order of the modules",
            "write each tensor once; tied parameters, for one of their modules only",
            f"{listed(names)}: written at {first} {again}, with nothing read between",
        )
