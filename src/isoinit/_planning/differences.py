"""What two plans give differently, parameter by parameter."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from isoinit._showing.page import Page, Shown, overlaid
from isoinit._showing.table import fold, render
from isoinit.initializers import Initializer
from isoinit.initializers.scale.fans import Layout

FORMAT, VERSION = "isoinit diff", 1
FACTS = ("initializer", "std", "shape", "layout", "dtype", "role")
# Two units of the sixth digit, the last that a plan keeps: it depends on the processor's sums. The std
# of 10⁹ random numbers varies as much from seed to seed.
TOLERANCE = 2e-5
NONE = {"parameter": "not there", "initializer": "left as it was"}


class Planned(Protocol):
    """What is compared of a plan's entry."""

    @property
    def initializer(self) -> Initializer | None: ...
    @property
    def std(self) -> float | None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def dtype(self) -> str: ...
    @property
    def role(self) -> str: ...


@dataclass(frozen=True)
class Difference:
    """One thing that two plans say differently about one parameter.

    Attributes:
        name: the parameter.
        what: "initializer", "std", "shape", "layout" (what the axes mean, where the shapes agree),
            "dtype" or "role"; "parameter" where only one plan has the parameter.
        before, after: what each plan says. For "parameter" the entry, and None for the plan that
            lacks it.
    """

    name: str
    what: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Differences(Shown):
    """What two plans give differently; empty, and so false, if they give the same.

    Iterate over it for one `Difference` after the other; printing it shows a table. `to_html` draws
    both plans on the same charts. Numbers that differ by less than 2e-5 of their size are equal, as
    for `Plan.diff`.

    Attributes:
        rows: the differences.
        plans: both plans, as they can be shown.

    Example:
        >>> import isoinit, torch
        >>> model, batch = torch.nn.Linear(4, 2), torch.zeros(1, 4)
        >>> one = isoinit.plan(model, batch)
        >>> two = isoinit.plan(model, batch, overrides={"bias": isoinit.Ones()})
        >>> [(row.name, row.what, row.before, row.after) for row in one.diff(two)]
        [('bias', 'initializer', Zeros(), Ones())]
        >>> bool(one.diff(one))
        False
    """

    rows: tuple[Difference, ...]
    plans: tuple[Shown, Shown] = field(repr=False, compare=False)

    def _page(self) -> Page:
        before, after = self.plans
        changed = {row.name for row in self}
        return overlaid(before._page(), after._page(), changed)

    def __iter__(self) -> Iterator[Difference]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        if not self:
            return "the plans give every parameter the same"
        count = len({row.name for row in self})
        return render(
            f"{count} parameter{'s' * (count > 1)} differ{'s' * (count == 1)}",
            ("parameter", "what", "before", "after"),
            fold([(row.name, row.what, *_sides(row)) for row in self]),
        )

    def to_json(self) -> str:
        """The differences as JSON for programs."""
        rows = [
            {"name": r.name, "what": r.what, "before": _plain(r.before), "after": _plain(r.after)}
            for r in self
        ]
        return json.dumps({"format": FORMAT, "version": VERSION, "differences": rows}, indent=1)


def compare(before: Mapping[str, Planned], after: Mapping[str, Planned]) -> tuple[Difference, ...]:
    """Return what the entries of two plans say differently, in the order of the first plan.

    What only the second one has comes last. Reasons and sources are left out: they tell why, and
    change no number.
    """
    rows = []
    for name, entry in before.items():
        if (other := after.get(name)) is None:
            rows.append(Difference(name, "parameter", entry, None))
            continue
        for what in FACTS:
            # Another shape is another layout anyway.
            if what == "layout" and entry.shape != other.shape:
                continue
            one, two = getattr(entry, what), getattr(other, what)
            if not alike(one, two):
                rows.append(Difference(name, what, one, two))
    rows += [Difference(n, "parameter", None, e) for n, e in after.items() if n not in before]
    return tuple(rows)


def alike(one: Any, two: Any) -> bool:
    """Return whether two facts of a plan are the same, numbers up to `TOLERANCE`.

    Example:
        >>> from isoinit import HeNormal
        >>> alike(HeNormal(gain=1.41421), HeNormal(gain=1.41422)), alike(0.5, 0.501)
        (True, False)
    """
    if isinstance(one, Initializer) and type(one) is type(two):
        return all(alike(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=TOLERANCE)
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(map(alike, one, two))
    return bool(one == two)


def _plain(fact: Any) -> Any:
    """A fact as JSON data; an entry as its facts by name."""
    if isinstance(fact, Initializer):
        return fact.to_dict()
    if isinstance(fact, Layout):
        return asdict(fact)
    if fact is None or isinstance(fact, (str, int, float, tuple)):
        return fact
    return {what: _plain(getattr(fact, what)) for what in FACTS}


def _sides(row: Difference) -> tuple[str, str]:
    """Both sides as text: short, unless only the long form shows a difference."""
    if row.what == "layout":
        return _layout(row.before, row.after), _layout(row.after, row.before)
    before, after = _text(row.before, row.what), _text(row.after, row.what)
    return (before, after) if before != after else (repr(row.before), repr(row.after))


def _layout(layout: Layout, other: Layout) -> str:
    """What of a layout the other one has differently."""
    mine, its = asdict(layout), asdict(other)
    return ", ".join(f"{key}={value}" for key, value in mine.items() if value != its[key])


def _text(fact: Any, what: str) -> str:
    if fact is None:
        return NONE.get(what, "none")
    if what == "parameter":
        shape, initializer = _text(fact.shape, "shape"), _text(fact.initializer, "initializer")
        return f"{shape} {fact.dtype}: {initializer}"
    if what == "shape":
        return "×".join(map(str, fact)) or "scalar"
    return f"{fact:.4g}" if what == "std" else str(fact).removesuffix("()")
