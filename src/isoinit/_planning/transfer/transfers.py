"""A transfer: a plan whose entries know how learning rates follow from a smaller model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isoinit._planning.plan import Plan
from isoinit._writing.factors import Factors
from isoinit.errors import PlanError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, repr=False)
class Transfer:
    """The initial scales and the optimizer groups of a model, from the settings of a smaller one.

    Attributes:
        plan: an ordinary plan, whose entries have `factors`. Edit, save, shard or checkpoint it.

    Raises:
        PlanError: if the plan is none that `isoinit.transfer` made.
    """

    plan: Plan

    def __post_init__(self) -> None:
        if self.plan.transfer is None:
            raise PlanError("the plan has no factors: expected one that isoinit.transfer made")

    @property
    def factors(self) -> dict[str, Factors]:
        """The factors of every parameter, by name."""
        return {entry.name: entry.factors for entry in self.plan if entry.factors is not None}
