"""What the tasks are made of: rows to train on and rows held out, seeded draws, and a text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from evidence.claims.digits import digits, some
from evidence.contest.task import Step
from torch.nn.functional import cross_entropy

HELD_OUT = 10**6  # the seed of what is never trained on: no training has so many steps
HELD = 256  # examples held out
TEXT = Path(__file__).parents[3] / "LICENSE"  # some eleven thousand characters that do not change

Rows = tuple[torch.Tensor, torch.Tensor]


def drawn(seed: int) -> torch.Generator:
    """Return a generator of its own for a step."""
    return torch.Generator().manual_seed(seed)


def split(x: torch.Tensor, y: torch.Tensor, held: int = HELD) -> tuple[Rows, Rows]:
    """Return the rows to train on and the rows held out, shuffled once."""
    order = torch.randperm(len(x), generator=drawn(HELD_OUT))
    return (x[order[held:]], y[order[held:]]), (x[order[:held]], y[order[:held]])


@cache
def pictures() -> tuple[Rows, Rows]:
    """Return digits to train on and digits held out, standardized, each with its class."""
    return split(*digits())


def training_rows(rows: Rows, step: int, count: int) -> Rows:
    """Return the batch of a step."""
    chosen = some(step, len(rows[0]), count)
    return rows[0][chosen], rows[1][chosen]


def classify(rows: Rows, shape: tuple[int, ...]) -> Step:
    """Return digits in a shape, and the cross entropy of their classes."""
    x, y = rows
    return x.unflatten(1, shape), lambda output: cross_entropy(output, y)


def classified(
    shape: tuple[int, ...], count: int
) -> tuple[Callable[[int], Step], Callable[[], Step]]:
    """Return `data` and `held_out` of digits in a shape, `count` in a batch."""

    def data(step: int) -> Step:
        return classify(training_rows(pictures()[0], step, count), shape)

    return data, lambda: classify(pictures()[1], shape)


def generated(
    make: Callable[[int, int], Step], count: int, held: int = HELD
) -> tuple[Callable[[int], Step], Callable[[], Step]]:
    """Return `data` and `held_out` of examples made from a seed and their number."""
    return lambda step: make(step, count), partial(make, HELD_OUT, held)


@cache
def characters() -> torch.Tensor:
    """Return a text as numbers below 100."""
    text = TEXT.read_text(encoding="utf-8")
    known = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([known[c] for c in text])


def passages(step: int, count: int, length: int) -> torch.Tensor:
    """Return pieces of the text for a step; those of `HELD_OUT` are from its last fifth."""
    text = characters()
    cut = len(text) * 4 // 5
    part = text[cut:] if step == HELD_OUT else text[:cut]
    starts = some(step, len(part) - length, count)
    return torch.stack([part[start : start + length] for start in starts.tolist()])


def labelled(ids: torch.Tensor) -> dict[str, Any]:
    """Return the batch of a causal language model of transformers."""
    return {"input_ids": ids, "labels": ids}
