"""A table for the terminal, through rich."""

from __future__ import annotations

import re
from collections.abc import Sequence


def fold(rows: Sequence[tuple[str, ...]], free: Sequence[int] = (0,)) -> list[tuple[str, ...]]:
    """Show rows that differ only in the numbers of some cells once: `layers.0…31.weight`.

    Args:
        rows: cells as text.
        free: the cells whose numbers may differ. How many rows a line stands for is told in the
            first.
    """
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in rows:
        key = tuple(re.sub(r"\d+", "#", c) if i in free else c for i, c in enumerate(row))
        groups.setdefault(key, []).append(row)
    folded = []
    for group in groups.values():
        first, *others = (_range(list(column)) for column in zip(*group, strict=True))
        folded.append((first + (f" ({len(group)})" if len(group) > 1 else ""), *others))
    return folded


def _range(texts: list[str]) -> str:
    """`a.0.b`, `a.2.b`, `a.4.b` as `a.0…4.b`."""
    parts = re.split(r"\d+", texts[0])
    numbers = [re.findall(r"\d+", text) for text in texts]
    shown = [
        column[0] if len(set(column)) == 1 else f"{column[0]}…{column[-1]}"
        for column in zip(*numbers, strict=True)
    ]
    return "".join(part + number for part, number in zip(parts, [*shown, ""], strict=True))


def render(
    title: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """A titled table as text, as wide as the terminal, with notes and warnings beneath it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    console = Console()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        # In a narrow terminal words wrap before names, which come first and are read most.
        wraps = index > 0 and column not in ("shape", "std", "why")
        room = 14 if wraps and console.width < 100 else None
        table.add_column(column, overflow="fold", max_width=room, no_wrap=index > 0 and not wraps)
    for row in rows:
        table.add_row(*map(escape, row))
    with console.capture() as capture:
        console.print(escape(title), highlight=False, style="bold")
        console.print(table)
        for note in notes:
            console.print(Padding(escape(note), (0, 0, 0, 1)), highlight=False, style="dim")
        for warning in warnings:
            console.print(Padding(f"[yellow]![/yellow] {escape(warning)}", (0, 0, 0, 1)))
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").splitlines())
