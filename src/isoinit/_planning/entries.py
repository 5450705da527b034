"""Makes the entries of a plan from what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isoinit._planning.charts import stored
from isoinit._planning.decide import Decided
from isoinit._planning.expectations import Expected
from isoinit._planning.rules import Choice
from isoinit._reading.roles import Role
from isoinit._writing.entry import Entry
from isoinit.initializers.scale.fans import Layout


def entries_of(decided: Decided, dtypes: Mapping[str, str]) -> dict[str, Entry]:
    """Return the entries of a plan, in the order of the model; `dtypes` has the parameters' types."""
    return {
        name: _entry(
            replace(role, layout=_layout(decided, name)),
            dtypes[name],
            decided.choices[name],
            decided.expected,
        )
        for name, role in decided.roles.items()
    }


def _layout(decided: Decided, name: str) -> Layout:
    """Return what the axes of a parameter mean; of a copy, those of what it copies."""
    of = decided.choices[name].copies or name
    return stored(decided.graph, of, decided.roles[of].layout)


def _entry(role: Role, dtype: str, choice: Choice, walked: Expected) -> Entry:
    return Entry(
        role.parameter,
        str(role),
        choice.initializer,
        role.layout,
        dtype,
        choice.reason,
        choice.source,
        # A head may start at zero: each of its units has a target of its own.
        must_differ=role.must_differ and role.end != "output",
        expected=walked.signal.get(role.parameter),
        expected_gradient=walked.gradient.get(role.parameter),
        target=choice.target,
        fed=role.fed_words,
        feeds=role.feeds_words,
        rule=choice.rule,
        close=choice.close,
        numbers=choice.numbers,
        kept=choice.kept,
        copies=choice.copies,
    )
