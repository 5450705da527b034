"""Compares the signal and gradient that plans expect with those measured; writes docs/signal.md.

    python -m evidence.signal [MODEL ...] [--no-docs]

Each model is planned once, applied under several seeds, and measured by `isoinit.check` on the batch
that it was planned with. The loss is the sum of the model's outputs, each times noise of size one, so
that the loss's gradient at the outputs is what `Entry.expected_gradient` is relative to. A signal
agrees if its root mean square, over the seeds, is within 20 % of what the plan expects, and a gradient
within 25 %.
"""

from __future__ import annotations

import argparse
import math
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

import isoinit
from isoinit._reading.torch.trees import tensors_in

os.environ["HF_HUB_OFFLINE"] = "1"
from evidence.page import DOCS, write
from evidence.signal.models import MODELS

SEEDS, SMALL = 12, 100_000
MANY = 100  # seeds of models below so many parameters, whose few units scatter
CLOSE, CLOSE_BACK = 1.2, 1.25
PAGE = DOCS / "signal.md"


@dataclass
class Pair:
    """What is expected of one size, and what was measured."""

    expected: float | None
    measured: float
    close: float

    @property
    def agrees(self) -> bool:
        """Whether the two are close; both zero counts."""
        if self.expected is None:
            return False
        if self.expected == self.measured == 0:
            return True
        low, high = sorted((self.expected, self.measured))
        return low > 0 and high / low <= self.close

    @property
    def ratio(self) -> float | None:
        """Measured by expected; None where nothing is expected, or nothing at all."""
        return self.measured / self.expected if self.expected else None

    def __str__(self) -> str:
        expected = "–" if self.expected is None else f"{self.expected:.3g}"
        return f"{expected} | {self.measured:.3g}"


@dataclass
class Row:
    """One layer of one model."""

    model: str
    layer: str
    signal: Pair
    gradient: Pair


def noise(output: Any, seed: int) -> torch.Tensor:
    """A loss whose gradient is noise of size one at every tensor that the model returns."""
    generator = torch.Generator().manual_seed(seed)
    carry = [t for t in tensors_in(output) if t.requires_grad]
    ends = [t for t in carry if t.dim()] or carry
    return torch.stack([(t * torch.randn(t.shape, generator=generator)).sum() for t in ends]).sum()


def compare(name: str) -> list[Row]:
    """The layers of one model."""
    torch.manual_seed(0)
    build, make = MODELS[name]
    model, batch = build(), make()
    model.train()
    plan = isoinit.plan(model, batch)
    squares: dict[str, list[tuple[float, float]]] = defaultdict(list)
    size = sum(parameter.numel() for parameter in model.parameters())
    for seed in range(MANY if size < SMALL else SEEDS):
        plan.apply(model, seed)
        seen = set()
        for layer in isoinit.check(model, batch, loss=lambda out, s=seed: noise(out, s)).layers:
            if layer.name not in seen:  # a layer that is used again: its first use counts
                came = 0.0 if math.isnan(layer.gradient) else layer.gradient
                squares[layer.name].append((layer.rms**2, came**2))
            seen.add(layer.name)
    rows = []
    for layer, found in squares.items():
        entry = plan[f"{layer}.weight" if f"{layer}.weight" in plan else layer]
        rms, back = (math.sqrt(sum(column) / len(found)) for column in zip(*found, strict=True))
        signal = Pair(entry.expected, rms, CLOSE)
        gradient = Pair(entry.expected_gradient, back, CLOSE_BACK)
        rows.append(Row(name, layer, signal, gradient))
    return rows


HEAD = """# What plans expect, and what is measured

Written by `python -m evidence.signal`. Before anything is drawn, a plan computes two sizes for
every layer:

- the expected root mean square of the layer's output (`Entry.expected`),
- the expected root mean square of the loss's gradient with respect to this output
  (`Entry.expected_gradient`), relative to noise of size one at the model's outputs.

This page compares them with measurements. Each model was planned once and applied with {seeds}
seeds. Models below {small:,} parameters were applied with {many} seeds, because layers of few
units vary more. `isoinit.check` measured each on the same batch, in training mode, with the noise
as the loss. A signal agrees if measured and expected differ by at most 20 %, a gradient if they
differ by at most 25 %.

**{signal}. {gradient}.**

| model | layers | signals agree | measured/expected | gradients agree | measured/expected |
|---|---|---|---|---|---|
"""

REASONS = """
## Signals that do not agree

A dash means that the plan does not know the size, because it can't follow an operation before
this layer (a scan, a scatter, a parametrized weight, a parameter that is left as it was). After
the next norm layer, it knows the size again. Other layers average over positions whose neighbours
are more correlated than distant positions (pooled convolutions, mixed tokens). In a flow with few
units, a few large exponentials determine the size.

| model | layer | expected | measured |
|---|---|---|---|
"""

BACK = """
## Gradients that do not agree

A dash means that gradients come back on several paths, and the plan can't follow one of them.
From there back to the input, all gradients are unknown, because a norm layer does not give the
gradient a known size. Two zeros, such as before a last norm scale of zero, count as agreement.

| model | layer | expected | measured |
|---|---|---|---|
"""


def agreement(pairs: dict[str, list[Pair]], what: str) -> str:
    """How many layers agree, of all models and without plain stacks."""
    all_of = [pair for found in pairs.values() for pair in found]
    others = [p for name, found in pairs.items() if not name.startswith("50 layers") for p in found]
    agree = sum(pair.agrees for pair in all_of)
    share = sum(pair.agrees for pair in others) / max(len(others), 1)
    return (
        f"{agree} of {len(all_of)} {what} agree ({agree / len(all_of):.1%}); without the "
        f"{len(all_of) - len(others)} layers of plain stacks, {share:.1%}"
    )


def spread(pairs: list[Pair]) -> str:
    """How many of a model's layers agree, and the extremes."""
    ratios = [pair.ratio for pair in pairs if pair.ratio is not None]
    extremes = f"{min(ratios):.2f} – {max(ratios):.2f}" if ratios else "–"
    return f"{sum(pair.agrees for pair in pairs)} | {extremes}"


def document(found: dict[str, list[Row]]) -> str:
    """The page."""
    signals = {name: sides(rows)[0] for name, rows in found.items()}
    gradients = {name: sides(rows)[1] for name, rows in found.items()}
    counts = agreement(signals, "signals"), agreement(gradients, "gradients")
    text = HEAD.format(seeds=SEEDS, small=SMALL, many=MANY, signal=counts[0], gradient=counts[1])
    for name, rows in found.items():
        text += f"| {name} | {len(rows)} | {spread(signals[name])} | {spread(gradients[name])} |\n"
    everything = [row for rows in found.values() for row in rows]
    text += REASONS
    text += "".join(
        f"| {row.model} | `{row.layer}` | {row.signal} |\n"
        for row in everything
        if not row.signal.agrees
    )
    text += BACK
    return text + "".join(
        f"| {row.model} | `{row.layer}` | {row.gradient} |\n"
        for row in everything
        if not row.gradient.agrees
    )


def main() -> None:
    """Compare, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {}
    for name in arguments.models:
        found[name] = rows = compare(name)
        agree = [sum(pair.agrees for pair in side) for side in sides(rows)]
        print(f"{name}: of {len(rows)} {agree[0]} signals and {agree[1]} gradients", flush=True)
        for row in rows:
            for what, pair in (("signal", row.signal), ("gradient", row.gradient)):
                if not pair.agrees:
                    print(f"    {row.layer}: {what} {pair}")
    for what, place in (("signals", 0), ("gradients", 1)):
        pairs = {name: sides(rows)[place] for name, rows in found.items()}
        print(agreement(pairs, what))
    if not arguments.no_docs and len(found) == len(MODELS):
        write(PAGE, document(found))


def sides(rows: list[Row]) -> tuple[list[Pair], list[Pair]]:
    """The signals and the gradients of some layers."""
    return [row.signal for row in rows], [row.gradient for row in rows]


if __name__ == "__main__":
    main()
