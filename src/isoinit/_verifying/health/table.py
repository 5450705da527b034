"""How a check looks in the terminal: one row a kind of layer, or one a layer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from isoinit._reading.roles import Role
from isoinit._showing.findings import SEVERITIES, Finding
from isoinit._showing.folding import Kind, bounds, headed, kinds, ranged
from isoinit._showing.sparkline import sparkline
from isoinit._showing.table import Cells, render
from isoinit._showing.terminal import Printed, counted
from isoinit._verifying.health.records import LayerHealth

ROWS = 24  # of a folded table, with its headings: more do not fit a screen
BARS, NARROW = 12, 5  # of a curve through depth
Number = Callable[[LayerHealth], "float | None"]


@dataclass(frozen=True)
class Column:
    """What is shown of layers.

    Attributes:
        name: its heading.
        of: the number.
        form: how one is written.
        worst: which of a kind is shown, where one is: `min` or `max`.
    """

    name: str
    of: Number
    form: str = "{:.3g}"
    worst: Callable[[Sequence[float]], float] | None = None

    def one(self, layer: LayerHealth) -> str:
        """The cell of one layer."""
        value = self.of(layer)
        return "" if value is None or math.isnan(value) else self._written(value)

    def all(self, layers: Sequence[LayerHealth], bars: int, middle: bool) -> str:
        """The cell of a kind of layers."""
        known = [v for v in map(self.of, layers) if v is not None and not math.isnan(v)]
        if self.worst is not None:
            return self._written(self.worst(known)) if known else ""
        told = ranged(known, middle=middle)
        if len(layers) < 2 or not known:
            return told
        low, high = bounds(known)
        return f"{told} {sparkline([self.of(x) for x in layers], bars, low=low, high=high)}"

    def _written(self, value: float) -> str:
        return re.sub(r"^-(0\.?0*%?)$", r"\1", self.form.format(value))


OUTPUT = Column("output rms", lambda x: x.rms)
GRADIENT = Column("gradient rms", lambda x: x.gradient)
EXPECTED = Column("expected", lambda x: x.expected)
FURTHEST = Column(
    "/plan",
    lambda x: x.rms / x.expected if x.expected else None,
    "{:.2f}",
    lambda ratios: max(ratios, key=lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.inf),
)
ALIKE = Column("alike", lambda x: x.correlation, "{:.2f}", max)
RANK = Column("rank", lambda x: x.rank, "{:.0f}", min)
DEAD = Column("dead", lambda x: x.dead, "{:.0%}", max)
SATURATED = Column("saturated", lambda x: x.saturated, "{:.0%}", max)
LEGEND = {
    OUTPUT.name: "rms: least median largest, bars by depth",
    FURTHEST.name: "/plan: measured by expected, worst",
    ALIKE.name: "alike: correlation of examples, worst",
    RANK.name: "rank: directions taken, least",
    DEAD.name: "dead: units, most",
    SATURATED.name: "saturated: values, most",
}


def kinds_of(roles: Mapping[str, Role]) -> dict[str, str]:
    """Return what makes layers of one kind: the role of the weight and the size of its kernel."""
    return {
        name.removesuffix(".weight"): f"{role} {role.layout.kernel}" for name, role in roles.items()
    }


def table(
    title: str,
    layers: Sequence[LayerHealth],
    like: Mapping[str, str],
    findings: Sequence[Finding],
    verbose: bool,
) -> Printed:
    """Return a check as a table for the terminal.

    Args:
        title: the verdict.
        layers: in the order in which they ran.
        like: of which kind each layer is, by name.
        findings: what was found.
        verbose: whether every layer gets a row.
    """
    warnings = [str(f) for s in SEVERITIES[:-1] for f in findings if f.severity == s]
    remarks = [str(f) for f in findings if f.severity == SEVERITIES[-1]]
    if verbose:
        columns = _there(layers, [OUTPUT, EXPECTED, ALIKE, RANK, DEAD, SATURATED, GRADIENT])
        rows = [(layer.name, *(column.one(layer) for column in columns)) for layer in layers]
        heads = ("layer", *(column.name for column in columns))
        return render(title, heads, rows, (), warnings, remarks)
    found = kinds(layers, lambda x: x.name, lambda x: like.get(x.name))
    shown = _chosen(found, findings)
    columns = _there(layers, [OUTPUT, FURTHEST, ALIKE, RANK, DEAD, SATURATED, GRADIENT])
    without = [column for column in columns if column is not RANK]
    widest, *narrower = [
        _folded(shown, columns, BARS, middle=True),
        _folded(shown, columns, NARROW, middle=True),
        _folded(shown, without, NARROW, middle=True),
        _folded(shown, columns, NARROW, middle=False),
        _folded(shown, without, NARROW - 1, middle=False),
    ]
    more = counted(len(found) - len(shown), "more kind")
    notes = [f"and {more} of layers: show(verbose=True) lists every layer"]
    notes = notes if len(found) > len(shown) else []
    return render(title, *widest, notes, warnings, remarks, narrower, LEGEND)


def _there(layers: Sequence[LayerHealth], columns: Sequence[Column]) -> list[Column]:
    """Which columns a table has: what is measured anywhere, and is not zero in all."""
    always = (OUTPUT, GRADIENT)
    return [
        column
        for column in columns
        if column in always or any(column.one(layer) not in ("", "0%") for layer in layers)
    ]


def _folded(
    shown: Sequence[Kind[LayerHealth]], columns: Sequence[Column], bars: int, middle: bool
) -> Cells:
    rows = [
        (kind.name, len(kind.items), tuple(c.all(kind.items, bars, middle) for c in columns))
        for kind in shown
    ]
    return ("layer", *(column.name for column in columns)), headed(rows)


def _chosen(
    found: Sequence[Kind[LayerHealth]], findings: Sequence[Finding]
) -> list[Kind[LayerHealth]]:
    """The kinds that fit a screen: the ends, those that findings name, and some between."""
    if len(found) <= ROWS:
        return [*found]
    worst = dict.fromkeys(range(len(found)), len(SEVERITIES))
    for index, kind in enumerate(found):
        names = {layer.name for layer in kind.items}
        for finding in findings:
            if names & {name.removesuffix(".weight") for name in finding.where}:
                worst[index] = min(worst[index], SEVERITIES.index(finding.severity))
    worst[0] = worst[len(found) - 1] = -1
    named = sorted((i for i in worst if worst[i] < len(SEVERITIES)), key=worst.__getitem__)[:ROWS]
    others = [i for i in worst if worst[i] == len(SEVERITIES)]
    free = ROWS - len(named)
    between = [others[(2 * k + 1) * len(others) // (2 * free)] for k in range(free)]
    return [found[i] for i in sorted({*named, *between})]
