"""A table for the terminal, through rich."""

from __future__ import annotations

import re
from collections.abc import Sequence


def fold(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Show rows that differ only in the numbers of their first cell once: `layers.0…31.weight`."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, *cells in rows:
        pattern = re.sub(r"\d+", "#", name)
        groups.setdefault((pattern, *cells), []).append(name)
    return [(_range(names), *key[1:]) for key, names in groups.items()]


def _range(names: list[str]) -> str:
    """`a.0.b`, `a.2.b`, `a.4.b` as `a.0…4.b (3)`."""
    if len(names) == 1:
        return names[0]
    parts = re.split(r"\d+", names[0])
    numbers = [re.findall(r"\d+", name) for name in names]
    shown = [
        column[0] if len(set(column)) == 1 else f"{column[0]}…{column[-1]}"
        for column in zip(*numbers, strict=True)
    ]
    joined = "".join(part + number for part, number in zip(parts, [*shown, ""], strict=True))
    return f"{joined} ({len(names)})"


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
