"""Compares the signal that plans expect with what is measured, and writes docs/signal.md.

    python -m evidence.signal [MODEL ...] [--no-docs]

Each model is planned once, applied under several seeds, and measured by `isoinit.check` on the batch
that it was planned with. A layer agrees if its root mean square, averaged over the seeds, is within
20 % of what the plan expects.
"""

from __future__ import annotations

import argparse
import math
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch

import isoinit

os.environ["HF_HUB_OFFLINE"] = "1"
from evidence.signal.models import MODELS

SEEDS, SMALL = 12, 100_000
MANY = 100  # seeds of models below so many parameters, whose few units scatter
CLOSE = 1.2
DOCS = Path(__file__).parents[2] / "docs" / "signal.md"


@dataclass
class Row:
    """One layer of one model."""

    model: str
    layer: str
    expected: float | None
    measured: float

    @property
    def agrees(self) -> bool:
        """Whether the two are within 20 %; both zero counts."""
        if self.expected is None:
            return False
        if self.expected == self.measured == 0:
            return True
        low, high = sorted((self.expected, self.measured))
        return low > 0 and high / low <= CLOSE


def compare(name: str) -> list[Row]:
    """The layers of one model."""
    torch.manual_seed(0)
    build, make = MODELS[name]
    model, batch = build(), make()
    model.train()
    plan = isoinit.plan(model, batch)
    squares: dict[str, list[float]] = defaultdict(list)
    size = sum(parameter.numel() for parameter in model.parameters())
    for seed in range(MANY if size < SMALL else SEEDS):
        plan.apply(model, seed)
        seen = set()
        for layer in isoinit.check(model, batch).layers:
            if layer.name not in seen:  # a layer that is used again: its first use counts
                squares[layer.name].append(layer.rms**2)
            seen.add(layer.name)
    rows = []
    for layer, found in squares.items():
        entry = plan[f"{layer}.weight" if f"{layer}.weight" in plan else layer]
        measured = math.sqrt(sum(found) / len(found))
        rows.append(Row(name, layer, entry.expected, measured))
    return rows


HEAD = """# What plans expect, and what is measured

Written by `python -m evidence.signal`. A plan works out, before anything is drawn, the root mean
square of every layer's output (`Entry.expected`). Here each model was planned once, applied under
{seeds} seeds (models below {small:,} parameters under {many}, since few units scatter), and measured
by `isoinit.check` on the same batch, in training mode. A layer agrees if the two are within 20 %.

**{agree} of {layers} layers agree ({share:.1%}); without the {plain} layers of plain stacks,
{rest:.1%}.**

| model | layers | agree | least and largest measured/expected |
|---|---|---|---|
"""

REASONS = """
## Those that do not

A dash: the plan does not know, because an operation on the way is not followed (a scan, a
scatter, a parametrized weight, a parameter that is left as it was). Behind the next norm layer it
knows again. The others are averages over places whose neighbours are more alike than places far
apart (pooled convolutions, mixed tokens), and a flow of few units, whose exponentials a few large
values decide.

| model | layer | expected | measured |
|---|---|---|---|
"""


def document(found: dict[str, list[Row]]) -> str:
    """The page."""
    everything = [row for rows in found.values() for row in rows]
    others = [row for row in everything if not row.model.startswith("50 layers")]
    text = HEAD.format(
        seeds=SEEDS,
        small=SMALL,
        many=MANY,
        agree=sum(row.agrees for row in everything),
        layers=len(everything),
        share=sum(row.agrees for row in everything) / len(everything),
        plain=len(everything) - len(others),
        rest=sum(row.agrees for row in others) / len(others),
    )
    for name, rows in found.items():
        ratios = [row.measured / row.expected for row in rows if row.expected]
        spread = f"{min(ratios):.2f} – {max(ratios):.2f}" if ratios else "–"
        text += f"| {name} | {len(rows)} | {sum(row.agrees for row in rows)} | {spread} |\n"
    text += REASONS
    for row in everything:
        if not row.agrees:
            expected = "–" if row.expected is None else f"{row.expected:.3g}"
            text += f"| {row.model} | `{row.layer}` | {expected} | {row.measured:.3g} |\n"
    return text


def main() -> None:
    """Compare, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {name: compare(name) for name in arguments.models}
    for name, rows in found.items():
        print(f"{name}: {sum(row.agrees for row in rows)} of {len(rows)}")
        for row in rows:
            if not row.agrees:
                print(f"    {row.layer}: expected {row.expected}, measured {row.measured:.3g}")
    everything = [row for rows in found.values() for row in rows]
    share = sum(row.agrees for row in everything) / len(everything)
    print(f"{share:.1%} of {len(everything)} layers within 20 %")
    if not arguments.no_docs and len(found) == len(MODELS):
        DOCS.write_text(document(found), encoding="utf-8")


if __name__ == "__main__":
    main()
