"""What a page shows, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isoinit._showing.findings import Finding
from isoinit._showing.page.figure import Figure

Cell = str | float | int | None
Sizes = Sequence[float | None]


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: what it is: a kind of layer, a loss. Charts give one name one colour.
        values: from left to right; a gap where there is none.
        low, high: the edges of a band around it, if it has one.
        at: the place of each value on the axis, from 0; without, one after the other.
        group: what it is one of several of: a method, "measured" beside "expected". Where a group is
            no method, those before the last are drawn as a wide pale line.
        points: whether to draw points alone, since a line between them would mean nothing.
    """

    name: str
    values: Sizes
    low: Sizes = ()
    high: Sizes = ()
    at: Sequence[int] = ()
    group: str = ""
    points: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over one axis.

    Attributes:
        title: a heading.
        x, y: what the axes are.
        curves: drawn in this order.
        names: what each point is called, such as a layer; without, its number from 1.
        log: whether sizes are drawn on a log scale, where zero is a gap.
        band: what the bands mean, in words.
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    names: Sequence[str] = ()
    log: bool = True
    band: str = ""


@dataclass(frozen=True)
class Density:
    """What values were meant to be drawn from.

    Attributes:
        mean, std: of one value.
        form: "normal" or "uniform" for a curve; "" where only the standard deviation is marked.
        label: in words.
    """

    mean: float
    std: float
    form: str
    label: str


@dataclass(frozen=True)
class Histogram:
    """How often values fall into bins of one width, from `low` to `high`.

    Attributes:
        low, high: the ends.
        counts: of each bin.
        planned: what the values were meant to be drawn from, where that is known.
    """

    low: float
    high: float
    counts: Sequence[int]
    planned: Density | None = None


@dataclass(frozen=True)
class Fold:
    """Rows of one kind, shown as one row until it is opened.

    Attributes:
        name: that of all of them: `h.0…11.attn.c_attn`.
        rows: their numbers.
        cells: what the one row shows behind the name; the least and the largest of numbers that
            differ.
    """

    name: str
    rows: Sequence[int]
    cells: Sequence[Cell | tuple[float, float]]


@dataclass(frozen=True)
class Table:
    """Rows to search, sort and filter.

    Attributes:
        title: a heading.
        columns: their names; one called "method" ties its rows to the page's methods.
        rows: cells, the first of which is the row's name.
        filters: the columns with a box to choose one value from.
        histograms: one a row, or None; shown in the opened row.
        method: the method that all of it is about, where methods are compared.
        folds: rows of one kind, of two rows or more; others stand alone.
        details: the columns that stand in an opened row alone: long texts.
        main: the columns that a narrow screen shows beside the name.
        compared: the columns that stand side by side where two tables are put together.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    filters: Sequence[str] = ()
    histograms: Sequence[Histogram | None] = ()
    method: str = ""
    folds: Sequence[Fold] = ()
    details: Sequence[str] = ()
    main: Sequence[str] = ()
    compared: Sequence[str] = ()


@dataclass(frozen=True)
class Remark:
    """Something that was found.

    Attributes:
        severity: "error", "warning" or "note".
        sentence: what was found, in words.
        advice: what to do.
        source: why it matters.
        where: the names that it is about; charts and tables mark what is called so.
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
        good: whether the verdict is one to be glad of.
        facts: names and values, shown at the top.
        remarks: what was found.
        figure: the model as a graph, where it is known.
        charts, tables: in this order.
        methods: those that are compared: each has a switch that hides what is its own everywhere.
        notes: sentences at the end.
    """

    title: str
    verdict: str = ""
    good: bool = True
    facts: Sequence[tuple[str, str]] = ()
    remarks: Sequence[Remark] = ()
    figure: Figure | None = None
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    methods: Sequence[str] = ()
    notes: Sequence[str] = ()
