"""Judges the runs of an audit: runs every finder over the facts.

The order of the rows is that of the findings: what was not written, then what was written wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from isoinit._showing.findings import Finding, errors_first
from isoinit._verifying.auditing.facts import Facts
from isoinit._verifying.auditing.finders import (
    alike,
    constructor,
    meta,
    ranks,
    seeds,
    twice,
    unwritten,
)

FINDERS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    unwritten.never_written,
    unwritten.partly_written,
    unwritten.computed,
    meta.left_there,
    meta.ties_lost,
    meta.not_there,
    alike.identical,
    alike.identical_slices,
    alike.copies,
    ranks.ranks,
    constructor.written_over,
    constructor.differs,
    constructor.other_distribution,
    twice.twice,
    seeds.unseeded,
    meta.not_built,
)


def judge(facts: Facts) -> list[Finding]:
    """Return everything that the finders find, errors first."""
    with torch.no_grad():
        return errors_first(finding for finder in FINDERS for finding in finder(facts))
