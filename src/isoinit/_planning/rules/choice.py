"""What one parameter gets, and why: a choice, and one that leaves it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from isoinit.initializers import Initializer


@dataclass(frozen=True)
class Choice:
    """What was decided for one parameter.

    Attributes:
        initializer: what it gets; None leaves it as it was.
        reason, source: why, and who found it out.
        rule: the name of the rule that decided; "" where none did.
        close: the names of the rules that would have decided, had the one before them not.
        numbers: what stands in the rule's formula for this parameter.
        target: for a layer's weight, the root mean square that its output is meant to have.
        kept: what makes it keep the values that it has, as in `Entry.kept`.
        held: where it is left as it was, what stands for its values in the expected signal; None if
            nothing is known of them.
        copies: the parameter whose values it takes, if it is a copy.
        grown: what stands for its values where what reads it is sized; None for those that it gets.
    """

    initializer: Initializer | None
    reason: str
    source: str
    rule: str = ""
    close: tuple[str, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    target: float | None = None
    kept: str = ""
    held: Initializer | None = None
    copies: str = ""
    grown: Initializer | None = None

    @property
    def when_grown(self) -> Choice:
        """The choice for which what reads the parameter is sized."""
        return self if self.grown is None else replace(self, initializer=self.grown)

    @property
    def meant(self) -> Initializer | None:
        """What its values are like once a plan is applied; None if that is not known."""
        return self.held if self.initializer is None else self.initializer


def left(choice: Choice, fault: str) -> Choice:
    """Return a choice that leaves the parameter as it was, since its initializer does not fit."""
    return replace(choice, initializer=None, reason=f"the rule's initializer does not fit: {fault}")
