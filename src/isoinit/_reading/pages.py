"""What was read of a model as a page: the model drawn, and every layer with its input."""

from __future__ import annotations

from collections.abc import Sequence

from isoinit._reading.figures import figure
from isoinit._reading.outline import Outline
from isoinit._showing.page import Page, Remark, Table, alike, folds
from isoinit._version import __version__

COLUMNS = ("layer", "operation", "input from", "output to")


def reading_page(
    outline: Outline,
    rows: Sequence[tuple[str, str, str, str]],
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
) -> Page:
    """Return what was read of a model as the facts of an HTML page.

    Args:
        outline: of the model.
        rows: of each layer its name, its operation, what feeds it and where it goes.
        facts: names and values for its head.
        warnings: what is doubtful.
    """
    kinds = alike([row[0] for row in rows], [row[1] for row in rows])
    said: dict[str, set[str]] = {}
    for name, operation, _, _ in rows:
        said.setdefault(name, set()).add(operation)
    # A table that is the output layer, too, does two things at two places.
    operations = {name: of.pop() for name, of in said.items() if len(of) == 1}
    return Page(
        f"Graph of {outline.model}",
        facts=[*facts, ("isoinit", __version__)],
        remarks=[Remark("warning", warning) for warning in warnings],
        figure=figure(outline, "As it was read", {}, {"": operations}),
        tables=[Table("Layers", COLUMNS, rows, folds=folds(kinds, rows), main=("operation",))],
    )
