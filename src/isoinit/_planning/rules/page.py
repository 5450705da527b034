"""The rule book to be read: in a terminal, in Markdown, as JSON."""

from __future__ import annotations

import json

from isoinit._planning.rules.table import RULES
from isoinit._showing.table import render
from isoinit._showing.terminal import Printed


def to_markdown() -> str:
    """Return the rule book as a Markdown table, in the order in which rules are asked."""
    head = "| rule | a parameter that is … | gets | because | source |\n|---|---|---|---|---|\n"
    rows = (
        f"| {rule.name} | {rule.when} | {rule.formula} | {_plain(rule.reason)} | {rule.source} |"
        for rule in RULES
    )
    return head + "\n".join(rows)


def shown() -> Printed:
    """Return the rule book as a table for the terminal, in the order in which rules are asked."""
    title = f"{len(RULES)} rules; the first whose condition a parameter meets decides"
    rows = [(rule.name, rule.when, rule.formula, rule.source) for rule in RULES]
    return render(title, ("rule", "a parameter that is …", "gets", "source"), rows)


def to_json() -> str:
    """Return the rule book as JSON, in the order in which rules are asked."""
    fields = ("name", "when", "formula", "reason", "source")
    return json.dumps([{f: getattr(rule, f) for f in fields} for rule in RULES], indent=1)


def _plain(reason: str) -> str:
    """Return a reason with words instead of the numbers and names of a parameter."""
    words = {
        "activation": "the activation",
        "fed": "the function",
        "gain": "g",
        "second": "E[x²]",
        "joined": "E[x²]",
        "source": "see `explain`",
        "inputs": "a few numbers, or up to 32 columns of the example",
        "lost": "",
        "length": "13 or more",
        "bias": "σ_b²",
    }
    return reason.format(**words)
