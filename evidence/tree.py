"""Draws the tree of docs/methods/index.md, from its text: docs/pictures/which-initialization.svg.

Run by `make pictures`. It has one column, for phones, and is light or dark as the reader's system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "methods" / "index.md"
PICTURE = DOCS / "pictures" / "which-initialization.svg"
TREE = re.compile(r"^```text\n(What is the parameter\?\n.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?P<in>(?:│  |   )*)(?:[├└]─ )(?P<asked>.*?)(?: ─{2,} (?P<answer>.*))?$")
WIDTH, MARGIN, INDENT, ROW, LETTER = (
    520,
    14,
    20,
    32,
    8.2,
)  # pixels; a letter is 7 to 8 wide in the fonts named
KINDS = {  # of answers, by the first word that is known: the colour of their edge
    "zero": "Zeros Ones Identity",
    "random": "Normal",
    "scaled": "Xavier LeCun He independently",
    "matrix": "Orthogonal LooksLinear Centred Spherical",
}
STYLE = """
svg { --ground: #ffffff; --ink: #1f2328; --faint: #8a929b; --plate: #f1f3f6;
      --zero: #6b7280; --random: #0f8a8a; --scaled: #c2610c; --matrix: #2f6fd0; --other: #7a4fc0; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #1b1e24; --ink: #e8eaed; --faint: #7d8590; --plate: #2b303a;
        --zero: #9aa4b2; --random: #35c2c2; --scaled: #f0994a; --matrix: #79aef5; --other: #b497ee; }
}
text { font: 15px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
.head { font-weight: 600; }
path { stroke: var(--faint); fill: none; shape-rendering: crispEdges; }
.ground { fill: var(--ground); }
.plate { fill: var(--plate); }
"""


@dataclass(frozen=True)
class Node:
    """One line of the tree: how deep it stands, what it asks, and the answer, if there is one."""

    depth: int
    asked: str
    answer: str = ""


def read(page: str) -> list[Node]:
    """Return the lines of the tree; a heading stands at depth zero."""
    found = TREE.search(page)
    if found is None:
        raise ValueError("the page has no tree that begins with 'What is the parameter?'")
    nodes = []
    for line in found[1].splitlines():
        if match := LINE.match(line):
            nodes.append(Node(len(match["in"]) // 3 + 1, match["asked"], match["answer"] or ""))
        elif line.strip():
            nodes.append(Node(0, line.strip()))
    return nodes


def draw(nodes: list[Node]) -> str:
    """Return the picture: lines of a branch join its questions, an answer stands right or below."""
    parts: list[str] = []
    trunk: dict[int, float] = {}  # by depth, where the last line that stands there ended
    y = 8.0
    for node in nodes:
        y += 12 if node.depth == 0 and parts else 0
        middle, left = y + ROW / 2, MARGIN + INDENT * node.depth
        if node.depth:
            start = trunk[node.depth - 1]
            bend = left - INDENT + 6
            parts.append(f'<path d="M{bend} {start:.0f}V{middle:.0f}H{left - 4}"/>')
        kind = ' class="head"' if node.depth == 0 else ""
        parts.append(f'<text x="{left}" y="{middle + 5:.0f}"{kind}>{escape(node.asked)}</text>')
        trunk[node.depth] = middle + 10
        y += ROW
        if node.answer:
            below = LETTER * (len(node.asked) + len(node.answer)) + left + 4 * MARGIN > WIDTH
            parts.append(_plate(node.answer, left if below else None, y - (0 if below else ROW)))
            y += ROW if below else 0
    height = f"{y + 10:.0f}"
    shown = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">\n'
        f"<title>Which initialization a parameter gets, as a tree</title>\n<style>{STYLE}</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>\n{shown}\n</svg>\n'
    )


def _plate(answer: str, left: float | None, y: float) -> str:
    """An answer on its plate, with an edge in the colour of its kind; at the right without `left`."""
    width = LETTER * len(answer) + 22
    x = WIDTH - MARGIN - width if left is None else left
    kinds = {word: kind for kind, known in KINDS.items() for word in known.split()}
    kind = next((kinds[w] for w in re.findall(r"\w+", answer) if w in kinds), "other")
    return (
        f'<rect class="plate" x="{x:.0f}" y="{y + 3:.0f}" width="{width:.0f}" height="26" rx="4"/>'
        f'<rect style="fill: var(--{kind})" x="{x:.0f}" y="{y + 3:.0f}" width="4" height="26"/>'
        f'<text x="{x + 12:.0f}" y="{y + 21:.0f}">{escape(answer)}</text>'
    )


def main() -> None:
    """Draw the tree of the page."""
    PICTURE.write_text(draw(read(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
