"""The rule book, and what it gives one parameter.

`table` (the rules in order; rows in `others` and `weights`), `conditions` and `sizes` (what rows are
made of), `usual` (what weights of the usual variance share), `methods` (`method="he"` and the like),
`keep` (what keeps the values that it has), `chosen` (one parameter's `choice`), `page` (the book to
read). The names below may be imported from here; a new rule is one row.
"""

from isoinit._planning.rules.choice import Choice, left
from isoinit._planning.rules.chosen import choose
from isoinit._planning.rules.conditions import before_sine
from isoinit._planning.rules.keep import kept
from isoinit._planning.rules.methods import METHODS
from isoinit._planning.rules.page import shown, to_json, to_markdown
from isoinit._planning.rules.table import RULES, USUAL

__all__ = [
    "METHODS",
    "RULES",
    "USUAL",
    "Choice",
    "before_sine",
    "choose",
    "kept",
    "left",
    "shown",
    "to_json",
    "to_markdown",
]
