"""The ratio that each row has reached: below half of it, `make bench-quick` fails.

Between the floor and its half lies what a busy machine does to a ratio.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.timing import Row

# By topic and the beginning of "case, peer": what was reached on two quiet cores, less a tenth or so.
FLOORS: dict[str, dict[str, float]] = {
    "normal": {"Normal 4096², float32": 5.5, "Normal 4096², bfloat16": 7.5},
    "uniform": {"Uniform 4096², float32": 5.5, "Uniform 4096², bfloat16": 8.5},
    "truncated_normal": {"TruncatedNormal": 50},
    "sparse": {"Sparse 2048²": 8},
    "orthogonal": {"Orthogonal 512²": 3, "Orthogonal 4096², float32": 3},
    "small_parameters": {
        "2,000 small tensors, fills": 2.2,
        "2,000 small tensors, Plan.apply": 0.9,
    },
    "gpt2": {"GPT-2, 355 M parameters, deferred and init": 4},
    "blt": {"BltModel": 20},
    "whole_model": {
        "23 M GPT-2, plan and apply": 0.42,
        "101 M MLP, plan and apply": 4,
        "101 M MLP, apply": 6,
    },
    "reading_depth": {"4 layers": 6.5, "16 layers": 3.7, "50 layers": 3.7, "100 layers": 3.7},
    "checking": {"": 0.5},
    "variational": {"1024² layer, batch 64, forward and backward, local noise, torchbnn": 1},
    "sparse_training": {
        "10 % kept, batch 64, nn.Linear": 3.8,
        "10 % kept, batch 1, inference, nn.Linear": 4,
    },
    "import_time": {"import isoinit": 40},
}


def floor_of(topic: str, row: Row) -> float | None:
    """Return the floor of a row's ratio; None where it has none."""
    its = f"{row.case}, {row.peer}"
    return next(
        (least for start, least in FLOORS.get(topic, {}).items() if its.startswith(start)), None
    )


def fallen(topic: str, rows: Iterable[Row]) -> list[str]:
    """Return a sentence for each row whose ratio lies below half of its floor."""
    found = []
    for row in rows:
        least = floor_of(topic, row)
        if least is not None and row.ratio is not None and row.ratio < least / 2:
            found.append(f"{topic}: {row.case}: {row.ratio:.2f}, and its floor is {least:.3g}")
    return found
