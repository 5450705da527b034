"""Pictures of the tutorial, from its own code: docs/pictures/tutorial-*.svg.

Run by `make pictures`; takes half a minute. The blocks of docs/tutorial.md run in order, and what they
print of a plan or a check is drawn.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from evidence.tables import PICTURES, WIDTH, draw

from isoinit._showing.picture import signal_by_depth

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Run the tutorial, and draw the tables and the signal of its network before and after."""
    os.environ |= {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "SOURCE_DATE_EPOCH": "0"}
    torch.set_num_threads(1)
    checks = run(PAGE.read_text(encoding="utf-8"))
    signals = dict(zip(("torch's default", "the plan"), checks, strict=True))
    with mpl.rc_context({"svg.hashsalt": "tutorial"}):
        signal_by_depth(
            {name: health.forward for name, health in signals.items()},
            {name: health.backward for name, health in signals.items()},
            PICTURES / "tutorial-signal.svg",
        )


def run(page: str) -> list[Any]:
    """Run the blocks up to the section on editing, and return the checks that they print."""
    names: dict[str, Any] = {}
    checks: list[Any] = []
    for block in BLOCK.findall(page.partition("\n## Edit the plan")[0]):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(block, names)
        lines = block.splitlines()
        if "print(plan)" in lines:
            plan = names["plan"]
            draw("tutorial-plan", "plan", plan, "print(plan)", str(plan))
        if "print(health)" in lines:
            checks.append(names["health"])
            when = "before" if len(checks) == 1 else "after"
            draw(f"tutorial-{when}", "health", checks[-1], "print(health)", str(checks[-1]))
    return checks


if __name__ == "__main__":
    main()
