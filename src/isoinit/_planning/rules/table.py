"""The rule book: which initializer each role gets, why, and who found it out.

An ordered table, one row a rule; the first row that applies decides. To add a rule, add a row to
`others` or `weights` and, if it needs one, a small function to `conditions` or `sizes`.
"""

from __future__ import annotations

from isoinit._planning.rules.others import OTHERS
from isoinit._planning.rules.rule import Rule
from isoinit._planning.rules.weights import WEIGHTS
from isoinit._reading.roles import Role

# The order in which rules are asked, row by row through the two files.
RULES: tuple[Rule, ...] = (*OTHERS, *WEIGHTS)
# Rules that ask for a variance alone: whether a weight is orthogonal is `usual`'s choice, by its size.
USUAL = frozenset(rule.name for rule in RULES if rule.usual)


def deciding(role: Role) -> Rule:
    """Return the first rule that applies to a role."""
    return next(rule for rule in RULES if rule.applies(role))
