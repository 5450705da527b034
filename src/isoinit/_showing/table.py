"""A table for the terminal, through rich."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

from isoinit._showing.folding import together
from isoinit._showing.terminal import Printed
from isoinit.errors import escaped

if TYPE_CHECKING:
    from rich.text import Text

GAP = 2
LEAST = 20  # room for names beside the other cells: with less, every name gets a line of its own
FEW = 8  # one row in so many may take a line more for its name
Cells: TypeAlias = "tuple[Sequence[str], Sequence[tuple[str, ...]]]"
COLOURS = {
    "unhealthy|uneven|forgotten|errors?:|failed": "red",
    "healthy|even:|nothing forgotten": "green",
    "warnings?:|!": "yellow",
}


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
        first, *others = (together(column) for column in zip(*group, strict=True))
        folded.append((first + (f" ({len(group)})" if len(group) > 1 else ""), *others))
    return folded


def render(
    title: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    remarks: Sequence[str] = (),
    narrower: Sequence[Cells] = (),
    legend: Mapping[str, str] | None = None,
) -> Printed:
    """A titled table as text, no wider than the terminal, with notes and warnings beneath it.

    Where a row does not fit on one line, its first cell gets a line of its own, so that names stay
    whole to be read.

    Args:
        title: in bold above it.
        columns: their names.
        rows: cells as text; one with a first cell alone is a heading, and may run over the others.
        notes: dim below it, one paragraph each.
        warnings: below these, with a mark.
        remarks: last, as they are.
        narrower: the same table with less in it, columns and rows, for terminals in which it does not
            fit: the first that fits is shown, else the last.
        legend: what columns say, by column; said in one note of those that are shown.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    notes, warnings, remarks = (
        [escaped(text, keep="\n") for text in texts] for texts in (notes, warnings, remarks)
    )
    console = Console()
    with console.capture() as capture:
        console.print(_coloured(escaped(title), "bold"), highlight=False)
        console.print()
        room = console.width - 1
        tables = [_visible(*cells) for cells in ((columns, rows), *narrower)]
        chosen = next((cells for cells in tables if _fits(*cells, room)), tables[-1])
        header, body = _layout(*chosen, room)
        words = [text for column, text in (legend or {}).items() if column in chosen[0]]
        for lines, style in ((header, "bold"), (body, None)):
            for line in lines:
                shown = f" {line}"
                console.print(_coloured(shown, style or ""), highlight=False, soft_wrap=True)
        console.print()
        below: list[tuple[Text | str, str]]
        below = [(escape(note), "dim") for note in (*notes, *["; ".join(words)] * bool(words))]
        below += [(_coloured(f"! {warning}"), "") for warning in warnings]
        below += [(escape(remark), "") for remark in remarks]
        for paragraph, style in below:
            console.print(Padding(paragraph, (0, 0, 0, 1)), highlight=False, style=style)
    return Printed("\n".join(line.rstrip() for line in capture.get().rstrip("\n").splitlines()))


def _visible(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Cells:
    return list(map(escaped, columns)), [tuple(map(escaped, row)) for row in rows]


def _coloured(text: str, style: str = "") -> Text:
    """Text with its verdicts in colour; where no colour can be seen, the words say it all."""
    from rich.text import Text

    coloured = Text(text, style)
    for words, colour in COLOURS.items():
        coloured.highlight_regex(rf"(?<![\w.])(?:{words})(?![\w.])", colour)
    return coloured


def _widths(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[int]:
    """How wide each column is, headings left out."""
    table = [tuple(columns), *(row for row in rows if not _is_heading(row))]
    return [max(map(_length, column)) for column in zip(*table, strict=True)]


def _width(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> int:
    widths = _widths(columns, rows)
    return sum(widths) + GAP * (len(widths) - 1)


def _fits(columns: Sequence[str], rows: Sequence[tuple[str, ...]], room: int) -> bool:
    """Whether nearly all rows take one line."""
    left = room - (_width(columns, rows) - _widths(columns, rows)[0])
    over = sum(_length(row[0]) > left for row in rows if not _is_heading(row))
    return not over or (left >= LEAST and over * FEW <= len(rows))


def _is_heading(row: Sequence[str]) -> bool:
    return len(row) > 1 and not any(row[1:])


def _layout(
    columns: Sequence[str], rows: Sequence[tuple[str, ...]], room: int
) -> tuple[list[str], list[str]]:
    """The lines of a table's header, and of its body; none longer than `room`."""
    table = [tuple(columns), *rows]
    widths, whole = _widths(columns, rows), _width(columns, rows)
    left = room - (whole - widths[0])
    if whole <= room or left >= LEAST:
        widths[0] = min(widths[0], left)
        header, *body = [_beside(row, widths, room) for row in table]
    else:
        words = [
            max(map(_length, " ".join(cells).split() or [""])) for cells in zip(*table, strict=True)
        ]
        widths = _narrowed(widths[1:], words[1:], room - GAP * len(widths[1:]))
        header, *body = [
            [*_wrap(first, room), *(" " * GAP + line for line in _row(rest, widths) if line)]
            for first, *rest in table
        ]
    return header, ["─" * min(whole, room), *(line for lines in body for line in lines)]


def _beside(row: Sequence[str], widths: list[int], room: int) -> list[str]:
    """One row as lines: a name that is too long for its column stands above the other cells."""
    if _length(row[0]) <= widths[0]:
        return _row(row, widths)
    rest = [] if _is_heading(row) else _row(("", *row[1:]), widths)
    return [*_wrap(row[0], room), *rest]


def _narrowed(widths: list[int], words: list[int], room: int) -> list[int]:
    """Widths of columns that fit side by side: the widest gives way first, and words last of all."""
    widths = widths.copy()
    while sum(widths) > room and max(widths) > 1:
        loose = [i for i, width in enumerate(widths) if width > words[i]] or range(len(widths))
        widths[max(loose, key=widths.__getitem__)] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row as lines."""
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        (" " * GAP)
        .join(
            part + " " * (width - _length(part)) for part, width in zip(line, widths, strict=True)
        )
        .rstrip()
        for line in zip_longest(*wrapped, fillvalue="")
    ]


def _length(text: str) -> int:
    """How many columns of a terminal a text takes: of Chinese letters and emoji, two each."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fitting(text: str, width: int) -> int:
    """How many characters of a text, one at least, fit into so many columns."""
    return next((n for n in range(min(width, len(text)), 1, -1) if _length(text[:n]) <= width), 1)


def _wrap(text: str, width: int) -> list[str]:
    """Lines of a cell: broken at spaces, in longer words after dots, and elsewhere if it must be."""
    lines = [""]
    for word in re.findall(r"[^ ]* ?", text):
        for piece in re.findall(r"[^.]*\.?", word) if _length(word.rstrip()) > width else [word]:
            if _length(lines[-1] + piece.rstrip()) > width and lines[-1]:
                lines.append("")
            lines[-1] += piece
            while _length(lines[-1].rstrip()) > width:
                fits = _fitting(lines[-1], width)
                lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
    return [line.rstrip() for line in lines]
