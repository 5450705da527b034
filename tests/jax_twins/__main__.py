"""Prints, for each twin, how many parameters are planned alike, and each difference in a line."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import numpy as np

from jax_twins import TWINS
from jax_twins.differences import Row, differences


def main(names: list[str]) -> int:
    """Print the table for these twins, or for all; return 1 if there is a difference."""
    alike = total = 0
    for name in names or TWINS:
        twin = TWINS[name]
        count = len(twin.names())
        total += count
        try:
            rows = differences(twin)
        except Exception as error:  # of one twin; the others are still of interest
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{name} ({twin.library}): failed: {type(error).__name__}: {error}")
            print(f"    at {where.filename}:{where.lineno}")
            continue
        same = count - len({row.name for row in rows if row.what != "extra"})
        alike += same
        print(f"{name} ({twin.library}): {same} of {count}")
        for row in rows:
            print(f"    {line(row)}")
    print(f"all: {alike} of {total} parameters are planned alike")
    return int(alike < total)


def line(row: Row) -> str:
    """Return a difference in one line."""
    return f"{row.name} ({row.torch_name}): {row.what}: {shown(row.torch)} | {shown(row.jax)}"


def shown(value: Any) -> str:
    """Return a value in few characters."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, np.ndarray):
        return f"[{', '.join(f'{number:.4g}' for number in value[:8])}]"
    if hasattr(value, "role"):
        return f"{value.role}, {value.initializer}"
    return str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
