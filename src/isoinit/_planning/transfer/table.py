"""A transfer as a table: a row a kind of parameter, its factors, and the reasons below."""

from __future__ import annotations

from collections.abc import Mapping

from isoinit._showing.findings import listed
from isoinit._showing.folding import headed, kinds, short
from isoinit._showing.table import render
from isoinit._showing.terminal import Printed
from isoinit._writing.entry import Entry
from isoinit._writing.factors import Factors, Setting

COLUMNS = ("parameter", "kind", "std", "lr", "decay", "eps", "gauge", "why")
LEGEND = {
    "std": "std, lr, decay and eps multiply the base's (–: no decay acts)",
    "gauge": "gauge: how many times larger it is stored than in a model with the papers' forward",
}


def table(entries: Mapping[str, Entry], setting: Setting, *, verbose: bool = False) -> Printed:
    """Return a transfer as a table for the terminal, no wider than it.

    Args:
        entries: the plan's.
        setting: what the factors were worked out for.
        verbose: whether every parameter gets a row.
    """
    known = [(e.name, e.factors) for e in entries.values() if e.factors is not None]
    said: dict[str, list[str]] = {}
    for _, factors in known:
        said.setdefault(factors.reason, []).append(factors.kind)
    numbers = {why: str(n) for n, why in enumerate(said, start=1)}
    if verbose:
        rows = [(name, *_cells(factors, numbers)) for name, factors in known]
    else:
        found = kinds(known, lambda one: one[0], lambda one: _cells(one[1], numbers))
        rows = headed([(k.name, len(k.items), _cells(k.items[0][1], numbers)) for k in found])
    depth = setting.depth or "not by depth"
    title = f"transfer from {setting.base}, {setting.optimizer}, decay {setting.decay!r}, {depth}"
    reasons = [
        f"{number} {listed(list(dict.fromkeys(said[why])))}: {why}"
        for why, number in numbers.items()
    ]
    sources = dict.fromkeys(s for _, f in known for s in f.source.split("; ") if s)
    reasons += ["sources: " + "; ".join(sources)] if sources else []
    narrow = [0, 2, 3, 4, 5, 7]
    narrower = [([COLUMNS[i] for i in narrow], [tuple(row[i] for i in narrow) for row in rows])]
    return render(title, COLUMNS, rows, reasons, setting.notes, narrower=narrower, legend=LEGEND)


def _cells(factors: Factors, numbers: Mapping[str, str]) -> tuple[str, ...]:
    decay = short(factors.decay, 3) if factors.decays else "–"
    others = (short(value, 3) for value in (factors.eps, factors.gauge))
    scales = (short(value, 3) for value in (factors.std, factors.lr))
    return (factors.kind, *scales, decay, *others, numbers[factors.reason])
