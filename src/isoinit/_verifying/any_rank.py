"""Findings of several ranks: a verdict is the same on all of them."""

from __future__ import annotations

from isoinit._showing.findings import Finding, errors_first
from isoinit._system.processes import gathered


def found_on_any_rank(mine: list[Finding]) -> list[Finding]:
    """Return what any rank found, errors first: all ranks stop, or none does."""
    found: dict[object, Finding] = {}
    for rank in gathered(mine):
        for finding in rank:
            found.setdefault((finding.name, finding.where), finding)
    return errors_first(found.values())
