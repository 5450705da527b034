"""Two pages of one make as one: both on the same charts, old and new side by side in the tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from isoinit._showing.page.along import alike, folds
from isoinit._showing.page.facts import Cell, Chart, Curve, Page, Table

BEFORE, AFTER = "before", "after"
CHANGE = "change"
CHANGED, SAME, NEW, GONE = "changed", "same", "new", "gone"
CLOSE = 0.01  # relative difference of measured numbers below which a row has not changed


def overlaid(before: Page, after: Page, changed: Collection[str] | None = None) -> Page:
    """Return two pages as one.

    Charts and tables of one title are put together. A curve that is one of several, such as
    "expected" beside "measured", is shown by the last of them. In tables the columns to compare stand
    twice, the others in the opened row, and the rows that changed stand first.

    Args:
        before: a page, such as of a plan.
        after: a page of the same make.
        changed: the rows that did, by name; by default those in which a compared column differs.
    """
    charts = {chart.title: chart for chart in before.charts}
    tables = {table.title: table for table in before.tables}
    both = [_table(tables[t.title], t, changed) for t in after.tables if t.title in tables]
    counts = [
        (
            f"{table.title.lower()} that differ",
            f"{sum(r[1] != SAME for r in table.rows):,} of {len(table.rows):,}",
        )
        for table in both
    ]
    facts = dict(before.facts)
    return Page(
        f"{_both(before.title, after.title)}: before and after",
        _both(before.verdict, after.verdict),
        after.good,
        counts + [(name, _both(facts.get(name), value)) for name, value in after.facts],
        after.remarks,
        charts=[_chart(charts[c.title], c) for c in after.charts if c.title in charts],
        tables=both,
        notes=after.notes,
    )


def _both(before: str | None, after: str) -> str:
    return after if before in (None, after) else f"{before} → {after}"


def _chart(before: Chart, after: Chart) -> Chart:
    """Two charts as one, over all that either names."""
    names = list(dict.fromkeys([*after.names, *before.names]))
    places = {name: i for i, name in enumerate(names)}
    curves = _curves(before, places, BEFORE) + _curves(after, places, AFTER)
    return replace(after, curves=curves, names=names)


def _curves(chart: Chart, places: Mapping[str, int], group: str) -> list[Curve]:
    last = chart.curves[-1].group if chart.curves else ""
    return [
        replace(curve, at=[places[chart.names[i]] for i in curve.at], group=group)
        for curve in chart.curves
        if curve.group == last
    ]


def _table(before: Table, after: Table, changed: Collection[str] | None) -> Table:
    """Two tables as one."""
    old, new = _by_name(before), _by_name(after)
    columns = list(dict.fromkeys([*after.columns, *before.columns]))[1:]
    twice = [c for c in columns if c in after.compared]
    for c in columns:
        if c not in twice and any(old[n].get(c) != new[n].get(c) for n in old if n in new):
            twice.append(c)
    columns = list(dict.fromkeys([*after.compared, *columns]))
    rows: list[tuple[Cell, ...]] = []
    for name in [*new, *(name for name in old if name not in new)]:
        was, now = old.get(name), new.get(name)
        cells: list[Cell] = [name, _change(name, was, now, after.compared, changed)]
        for column in columns:
            one, two = (None if side is None else side.get(column) for side in (was, now))
            cells += [one, two] if column in twice else [one if now is None else two]
        rows.append(tuple(cells))
    rows.sort(key=lambda row: row[1] == SAME)  # stable: in order of execution otherwise
    bins = dict(zip(new, after.histograms, strict=True)) if after.histograms else {}
    like = _like(after) | _like(before)
    kinds = alike([str(r[0]) for r in rows], [(r[1], like.get(str(r[0]))) for r in rows])
    heads = _heads(columns, twice)
    shown = _heads(after.compared, twice)
    return Table(
        after.title,
        (after.columns[0], CHANGE, *heads),
        rows,
        (CHANGE, *(c for c in after.filters if c not in twice)),
        [bins.get(str(row[0])) for row in rows] if bins else (),
        folds=folds(kinds, rows),
        details=[head for head in heads if head not in shown],
        main=(CHANGE, *_heads(after.main[:1], twice)[-1:]),
    )


def _like(table: Table) -> dict[str, str]:
    """What a table itself folds each row into, by the row's name."""
    return {str(table.rows[i][0]): fold.name for fold in table.folds for i in fold.rows}


def _heads(columns: Sequence[str], twice: Collection[str]) -> list[str]:
    """Columns by the names that they have where both sides stand."""
    return [
        head
        for column in columns
        for head in ([f"{column} {BEFORE}", f"{column} {AFTER}"] if column in twice else [column])
    ]


def _by_name(table: Table) -> dict[str, dict[str, Cell]]:
    return {str(r[0]): dict(zip(table.columns[1:], r[1:], strict=True)) for r in table.rows}


def _change(
    name: str,
    before: Mapping[str, Cell] | None,
    after: Mapping[str, Cell] | None,
    compared: Sequence[str],
    changed: Collection[str] | None,
) -> str:
    if before is None or after is None:
        return NEW if before is None else GONE
    if changed is None:
        differs = any(_differs(before.get(column), after.get(column)) for column in compared)
    else:
        differs = name in changed
    return CHANGED if differs else SAME


def _differs(before: Cell, after: Cell) -> bool:
    if isinstance(before, float | int) and isinstance(after, float | int):
        return abs(before - after) > CLOSE * max(abs(before), abs(after))
    return before != after
