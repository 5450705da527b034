"""Judges a measurement: runs every finder over the facts.

The order of the rows is that of the findings: first what makes the rest meaningless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from isoinit._showing.findings import Finding, errors_first
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.finders import (
    batch,
    broken,
    copies,
    expected,
    norms,
    scale,
    symmetry,
    training,
    trend,
)

FINDERS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    broken.unmeasured,
    broken.parameters_not_finite,
    broken.trouble,
    broken.loss_not_finite,
    broken.nothing_to_train,
    symmetry.symmetry,
    symmetry.twins,
    symmetry.constant,
    symmetry.same_function,
    symmetry.low_rank,
    copies.copies,
    scale.stands_out,
    scale.wrong_gain,
    norms.below_epsilon,
    trend.signal,
    trend.distinction,
    trend.gradient,
    training.unused,
    training.no_gradient,
    training.starts_at_zero,
    training.dead,
    training.saturated,
    training.chance,
    training.first_step,
    expected.unexpected,
    batch.uneven_columns,
    batch.one_example,
    batch.resting,
)


def judge(facts: Facts) -> list[Finding]:
    """Everything that the finders find, errors first."""
    return errors_first(finding for finder in FINDERS for finding in finder(facts))
