"""What a page shows, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isoinit._showing.findings import Finding

Cell = str | float | int | None
Sizes = Sequence[float | None]


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: what it is; that of the method, where methods are compared.
        values: from left to right; a gap where there is none.
        low, high: the edges of a band around it, if it has one.
    """

    name: str
    values: Sizes
    low: Sizes = ()
    high: Sizes = ()


@dataclass(frozen=True)
class Chart:
    """Curves over one axis.

    Attributes:
        title: a heading.
        x, y: what the axes are.
        curves: drawn in this order.
        names: what each point is called, such as a layer; without, its number from 1.
        log: whether sizes are drawn on a log scale, where zero is a gap.
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    names: Sequence[str] = ()
    log: bool = True


@dataclass(frozen=True)
class Histogram:
    """How often values fall into bins of one width, from `low` to `high`."""

    low: float
    high: float
    counts: Sequence[int]


@dataclass(frozen=True)
class Table:
    """Rows to search, sort and filter.

    Attributes:
        title: a heading.
        columns: their names; one called "method" ties its rows to the page's methods.
        rows: cells, the first of which is the row's name.
        filters: the columns with a box to choose one value from.
        histograms: one a row, or None; shown on demand.
        method: the method that all of it is about, where methods are compared.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    filters: Sequence[str] = ()
    histograms: Sequence[Histogram | None] = ()
    method: str = ""


@dataclass(frozen=True)
class Remark:
    """Something that was found.

    Attributes:
        severity: "error", "warning" or "note".
        sentence: what was found, in words.
        advice: what to do.
        source: why it matters.
        where: the names that it is about; charts mark the points that are called so.
        method: the method that it is about, where methods are compared.
    """

    severity: str
    sentence: str
    advice: str = ""
    source: str = ""
    where: Sequence[str] = ()
    method: str = ""


def remarks(findings: Iterable[Finding], method: str = "") -> list[Remark]:
    """Findings as a page shows them, of one method where methods are compared."""
    return [Remark(f.severity, f.sentence, f.advice, f.source, f.where, method) for f in findings]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: what it is about.
        verdict: a word, such as "healthy"; empty for none.
        facts: names and values, shown at the top.
        remarks: what was found.
        charts, tables: in this order.
        methods: those that are compared: each has a switch that hides what is its own everywhere.
        notes: sentences at the end.
    """

    title: str
    verdict: str = ""
    facts: Sequence[tuple[str, str]] = ()
    remarks: Sequence[Remark] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    methods: Sequence[str] = ()
    notes: Sequence[str] = ()
