"""Parameters that start as copies of each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from isoinit._showing.findings import Finding
from isoinit._verifying.copies import copies_found
from isoinit._verifying.health.facts import Facts


def copies(facts: Facts) -> Iterator[Finding]:
    """Trained parameters that hold the same random values, and are not tied."""
    alike: dict[object, list[str]] = defaultdict(list)
    for name, parameter in facts.parameters.items():
        weight = facts.weights[name]
        bars = weight.histogram  # of a sample: what differs there needs no closer look
        if name in facts.trained and bars is not None and bars.low < bars.high:
            sample = weight.largest, bars.low, bars.high, *bars.counts
            alike[tuple(parameter.shape), sample].append(name)
    groups = [g for names in alike.values() if len(names) > 1 for g in facts.copies(names)]
    yield from copies_found(groups, facts.parameters, facts.words.copies)
