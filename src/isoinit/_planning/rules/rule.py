"""One row of the rule book."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isoinit._planning.rules.usual import finished
from isoinit._reading.roles import Role
from isoinit.initializers import Initializer


@dataclass(frozen=True)
class Rule:
    """One row of the rule book.

    Attributes:
        name: a short handle.
        applies: whether the rule is for a role.
        initializer: what the role gets; None leaves it as it was.
        when: which roles those are, in words.
        formula: what they get, as a formula.
        reason: why, in words; what stands in braces is filled in from the role.
        source: the paper or practice that it comes from.
        usual: whether it gives a weight the usual variance, by what it reads: see `usual`.
        insists: whether it wants a special value of its own, and so decides over one that the
            constructor gave.
        grows: whether training takes it to the usual size: what reads it is sized for that.
    """

    name: str
    applies: Callable[[Role], bool]
    initializer: Callable[[Role], Initializer | None]
    when: str
    formula: str
    reason: str
    source: str
    usual: bool = False
    insists: bool = False
    grows: bool = False

    def made(self, role: Role) -> Initializer | None:
        """Return what a role gets, with what all usual weights share."""
        initializer = self.initializer(role)
        return finished(role, initializer) if self.usual and initializer else initializer
