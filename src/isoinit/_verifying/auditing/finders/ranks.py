"""What is wrong between the ranks of a distributed run."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing.facts import Facts


def ranks(facts: Facts) -> Iterator[Finding]:
    """What is wrong between the ranks of a distributed run."""
    kinds = (
        (
            "identical shards",
            "error",
            facts.parts.same,
            "ranks that hold different parts of it drew the same bits for them",
            "seed each rank by what it holds, or draw by the place in the whole tensor",
        ),
        (
            "replicas differ",
            "error",
            facts.parts.different,
            "ranks that hold the same part of it hold other values",
            "seed replicas alike, or broadcast from one of them",
        ),
        (
            "ranks differ",
            "warning",
            facts.parts.unlike,
            "it is not sharded, and differs from rank to rank",
            "seed ranks alike, or broadcast from one; a wrapper like DDP does when it is made",
        ),
    )
    for name, severity, where, words, advice in kinds:
        if where:
            yield Finding(
                name,
                severity,
                where,
                float(len(where)),
                0.0,
                "a sharded model is one model: each element has one value, wherever it lies",
                advice,
                f"{listed(where)}: {words}",
            )
