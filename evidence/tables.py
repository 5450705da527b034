"""Pictures of the tables in a terminal of 80 columns, for GPT-2 small: docs/pictures/*-gpt2.svg.

Run by `make tables`; takes a minute. The prompt is Python's, the text what `print` shows.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text
from transformers import GPT2Config, GPT2LMHeadModel

import isoinit

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH = 80


def main() -> None:
    """Plan and check GPT-2 small, and draw what is printed."""
    os.environ |= {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config())
    tokens = torch.randint(0, 50257, (2, 64))
    plan = isoinit.plan(gpt2, tokens)
    draw("plan-gpt2", "plan", plan, "plan.show(now=gpt2, own=True)", plan.show(now=gpt2, own=True))
    plan.apply(gpt2, seed=0)
    health = isoinit.check(gpt2, tokens)
    draw("check-gpt2", "health", health, "print(health)", str(health))


def draw(name: str, variable: str, value: object, asked: str, table: str) -> None:
    """Write one picture: the line that a REPL shows, and the table."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(
        f">>> {variable}", f"{value!r}", f">>> {asked}", sep="\n", highlight=False, markup=False
    )
    console.print(Text.from_ansi(table), soft_wrap=True)
    svg = console.export_svg(title="python", unique_id=name)
    # Fonts of other hosts are not asked for: the reader's own will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
