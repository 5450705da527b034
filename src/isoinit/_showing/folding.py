"""Layers that differ only in the numbers of their names, as one row: `h.0…11.attn`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

SPAN = 10.0  # least factor between the lowest and the highest bar: less would make noise a trend


@dataclass(frozen=True)
class Kind(Generic[T]):
    """Things of one kind, in their order.

    Attributes:
        name: that of all of them: `h.0…11.attn.c_attn`.
        items: the things.
    """

    name: str
    items: list[T]


def kinds(
    items: Iterable[T], name: Callable[[T], str], like: Callable[[T], Hashable]
) -> list[Kind[T]]:
    """Put together what differs in the numbers of its name alone, and is alike.

    Args:
        items: in the order in which the kinds are returned, by their first.
        name: the name of one.
        like: what must be the same within a kind.

    Example:
        >>> found = kinds(["h.0.a", "h.0.b", "h.1.a"], str, len)
        >>> [(kind.name, len(kind.items)) for kind in found]
        [('h.0…1.a', 2), ('h.0.b', 1)]
    """
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault((re.sub(r"\d+", "#", name(item)), like(item)), []).append(item)
    return [Kind(together([name(x) for x in group]), group) for group in groups.values()]


def together(texts: Sequence[str]) -> str:
    """Return texts that differ in numbers as one: `a.0.b`, `a.2.b`, `a.4.b` as `a.0…4.b`."""
    parts = re.split(r"\d+", texts[0])
    numbers = [re.findall(r"\d+", text) for text in texts]
    shown = [
        column[0] if len(set(column)) == 1 else f"{min(column, key=int)}…{max(column, key=int)}"
        for column in zip(*numbers, strict=True)
    ]
    return "".join(part + number for part, number in zip(parts, [*shown, ""], strict=True))


def headed(rows: Sequence[tuple[str, int, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """Return rows of a table, the repeated beginning of their names said once above them.

    Rows below one heading stand together, at the place of the first.

    Args:
        rows: name, how many it stands for, and the other cells. A row below a heading stands for as
            many as that says, unless it says otherwise.

    Example:
        >>> for row in headed([("h.0…3.q", 4, ("x",)), ("h.0…3.ln_1…2", 8, ("y",)), ("g", 1, ("z",))]):
        ...     print(row)
        ('h.0…3. (4)', '')
        ('  q', 'x')
        ('  ln_1…2 (8)', 'y')
        ('g', 'z')
    """
    groups: dict[str, list[tuple[str, int, tuple[str, ...]]]] = {}
    for row in rows:
        groups.setdefault(_repeated(row[0]) or row[0], []).append(row)
    found: list[tuple[str, ...]] = []
    for start, group in groups.items():
        least = 1
        if len(group) > 1 and start != group[0][0]:
            least = min(count for _, count, _ in group)
            found.append((start + _times(least), *[""] * len(group[0][2])))
            group = [(f"  {name.removeprefix(start)}", n, cells) for name, n, cells in group]
        found += [(name + (_times(n) if n != least else ""), *cells) for name, n, cells in group]
    return found


def _repeated(name: str) -> str:
    """The beginning of a name up to its first part that is a range of numbers; "" without one."""
    found = re.match(r"(?:[^.…]*\.)*\d+…\d+\.", name)
    return found[0] if found else ""


def _times(count: int) -> str:
    return f" ({count})" if count > 1 else ""


def short(number: float, digits: int = 2) -> str:
    """Return a number in few characters.

    Example:
        >>> short(0.000017), short(0.98), short(431.6), short(2e8)
        ('1.7e-5', '0.98', '432', '2.0e8')
    """
    if number and math.isfinite(number) and 10**digits <= abs(number) < 1e4:
        return f"{number:.0f}"
    text = f"{number:#.{digits}g}" if number else "0"
    text = re.sub(r"\.?e([+-])0*(\d+)", lambda e: f"e{e[1].strip('+')}{e[2]}", text)
    return text.removesuffix(".")


def ranged(values: Iterable[float | None], *, middle: bool, digits: int = 2) -> str:
    """Return the least, the median and the largest of some numbers; one where they are the same.

    Args:
        values: None for what is not known.
        middle: whether to tell the median.
        digits: of each number.

    Example:
        >>> ranged([0.91, 1.02, 0.98], middle=True), ranged([0.91, None, 1.02], middle=False)
        ('0.91 0.98 1.0', '0.91…1.0')
    """
    known = sorted(v for v in values if v is not None and not math.isnan(v))
    if not known:
        return ""
    ends = [short(known[0], digits), short(known[-1], digits)]
    if ends[0] == ends[1]:
        return ends[0]
    return " ".join((ends[0], short(median(known), digits), ends[1])) if middle else "…".join(ends)


def bounds(values: Iterable[float | None]) -> tuple[float, float]:
    """Return the ends of a log scale on which the bars of one kind are drawn.

    It is no narrower than `SPAN`: of values that differ by less the middle is drawn at half height.
    """
    known = [abs(v) for v in values if v and math.isfinite(v)]
    least, largest = min(known, default=1.0), max(known, default=1.0)
    if largest / least >= SPAN:
        return least, largest
    low = math.sqrt(least) * math.sqrt(largest) / SPAN ** (3.5 / 8)  # within the fourth of 8 bars
    return low, low * SPAN
