"""A plan as a page: what is expected through depth, and every parameter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from isoinit._planning.shown import cells, kind_of
from isoinit._reading.figures import figure
from isoinit._reading.outline import Outline
from isoinit._showing.page import Chart, Figure, Page, Remark, Table, alike, by_kind, folds
from isoinit._showing.terminal import counted, rough
from isoinit._writing.entry import Entry

READ = {  # what `how` says, in words
    "fake": "its own forward, on fake tensors",
    "real": "its own forward, on the example",
    "structure": "its modules",
    "jaxpr": "its jaxpr",
}
COLUMNS = ("parameter", "shape", "initializer", "std", "role", "expected rms", "expected gradient")
DETAILS = ("reason", "source", "input from", "output to", "rule", "dtype")
CAPTION = "Coloured by rms: the size expected of each layer's output"
ORDER = "layer, in order of execution"


def plan_page(
    entries: Mapping[str, Entry],
    outline: Outline | None,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
) -> Page:
    """Return a plan as the facts of an HTML page.

    Args:
        entries: the plan's.
        outline: of the model; None where it is not known.
        facts: names and values for its head.
        warnings: what is doubtful.
    """
    about = {e.warning: e.name for e in entries.values() if e.warning}
    return Page(
        f"Plan of {outline.model if outline else counted(len(entries), 'parameter')}",
        counted(len(warnings), "warning") if warnings else "no warnings",
        not warnings,
        facts,
        [
            Remark("warning", said, where=[about[said]] if said in about else [])
            for said in warnings
        ],
        figure=_figure(entries, outline) if outline else None,
        charts=_charts(entries),
        tables=[_table(list(entries.values()))],
    )


def sizes(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """Return how many parameters there are, of how many elements, and the memory that they take."""
    counts = [(math.prod(e.shape), _bits(e.dtype)) for e in entries]
    memory = sum(count * bits for count, bits in counts) / 8
    return [
        ("parameters", f"{len(counts):,}"),
        ("elements", f"{sum(count for count, _ in counts):,}"),
        ("memory", f"{rough(round(memory))}B".replace("BB", "GB")),
    ]


def _bits(dtype: str) -> int:
    """How many bits an element of a type takes, by the name of the type."""
    found = re.search(r"\d+", dtype)
    return int(found[0]) if found else 8  # bool


def _figure(entries: Mapping[str, Entry], outline: Outline) -> Figure:
    """The model, coloured by the signal that is expected."""
    weights = {name.removesuffix(".weight"): entry for name, entry in entries.items()}
    expected = {name: entry.expected for name, entry in weights.items()}
    stds = {name: entry.std for name, entry in weights.items() if entry.layout.is_map}
    return figure(outline, CAPTION, expected, {"std": stds, "rms": expected})


def _charts(entries: Mapping[str, Entry]) -> list[Chart]:
    """What is expected of the signal and of the gradient, one line a kind of layer."""
    layers = [entry for entry in entries.values() if entry.expected is not None]
    if not layers:
        return []
    names = [entry.name.removesuffix(".weight") for entry in layers]
    groups = alike(names, [(entry.role, entry.layout.kernel) for entry in layers])
    signal = by_kind(groups, [entry.expected for entry in layers])
    gradient = by_kind(groups, [entry.expected_gradient for entry in layers])
    return [
        Chart("Signal expected", ORDER, "rms of the output", signal, names),
        Chart("Gradient expected", ORDER, "rms of the gradient", gradient, names),
    ]


def _table(entries: Sequence[Entry]) -> Table:
    """Every parameter, folded by kind."""
    rows = [
        (
            *(e.name, *cells(e), e.std, e.role, e.expected, e.expected_gradient),
            *(e.reason, e.source, e.fed, e.feeds, e.rule, e.dtype),
        )
        for e in entries
    ]
    return Table(
        "Parameters",
        (*COLUMNS, *DETAILS),
        rows,
        ("initializer", "role", "rule", "dtype"),
        folds=folds(alike([e.name for e in entries], list(map(kind_of, entries))), rows),
        details=DETAILS,
        main=("std",),
        compared=("initializer", "std", "expected rms"),
    )
