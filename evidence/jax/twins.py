"""Compares models in torch and in JAX, and plans with what is measured; writes docs/jax-twins.md.

    PYTHONPATH=tests python -m evidence.jax.twins [MODEL ...] [--no-docs]

The models are those of `tests/jax_twins`. A parameter is planned alike if role, initializer, gain and
standard deviation agree (0.1 %), and what is expected behind it (2 %). Then the JAX model is filled by
its plan under several seeds and measured as `isoinit.jax.check` does. A layer agrees if the root mean
square of its output over the seeds is within 20 % of what the plan expects.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass

import jax
from evidence.page import DOCS, write

from isoinit.jax.measured import Measuring
from isoinit.jax.models import model_of
from isoinit.jax.spelling import named_leaves
from isoinit.jax.verbs import planned
from jax_twins import TWINS, Twin
from jax_twins.differences import differences

SEEDS = 24
CLOSE = 1.2
PAGE = DOCS / "jax-twins.md"


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        parameters: how many it has.
        planned: how many are planned alike, but for what is expected.
        expected: how many are planned alike in that, too.
        layers: for each layer, what is expected (None where that is not known) and measured.
    """

    parameters: int
    planned: int
    expected: int
    layers: dict[str, tuple[float | None, float]]

    @property
    def agreeing(self) -> int:
        """How many layers are measured as expected."""
        return sum(agrees(*pair) for pair in self.layers.values())


def agrees(expected: float | None, measured: float) -> bool:
    """Return whether a measured size is within 20 % of what is expected; both zero counts."""
    if expected is None or expected == 0 or measured == 0:
        return expected == measured
    return max(expected, measured) <= CLOSE * min(expected, measured)


def compared(twin: Twin) -> Row:
    """Return how the plans of a twin compare, and what its JAX model shows."""
    found = [row for row in differences(twin) if row.what != "extra"]
    names = set(twin.names())
    apart = {row.name for row in found if row.what != "expected"}
    return Row(
        len(names),
        len(names - apart),
        len(names - {row.name for row in found}),
        measured(twin),
    )


def measured(twin: Twin) -> dict[str, tuple[float | None, float]]:
    """Return what is expected of each layer's output, and its root mean square over the seeds."""
    model = model_of(*twin.build_jax())
    plan, decided, read = planned(model)
    measuring = Measuring(model, read, None)
    rest = jax.tree_util.tree_leaves((model.state, model.inputs))
    squares: dict[str, list[float]] = defaultdict(list)
    for seed in range(SEEDS):
        values = named_leaves(plan.fill(model.params, seed))
        seen = set()
        for layer in measuring.measure(values, rest)[0].layers:
            if layer.name not in seen:  # a layer that is used again: its first use counts
                squares[layer.name].append(layer.rms**2)
            seen.add(layer.name)
    expected = {
        name.removesuffix(".weight"): size for name, size in decided.expected.signal.items()
    }
    return {
        name: (expected.get(name), math.sqrt(sum(found) / len(found)))
        for name, found in squares.items()
    }


HEAD = """# Models written in torch and in JAX

Written by `python -m evidence.jax.twins`. Does a model get the same plan in JAX as in torch? Each
model of `tests/jax_twins` is written in both. A test shows that both compute the same function of
the same parameters.

- *Alike*: parameters whose role, initializer, gain and standard deviation are the same as in torch
  (to 0.1 %).
- *Expected*: the expected size of the layer's output is also the same (to 2 %).
- *Measured*: the JAX model was filled by its plan with {seeds} seeds. A layer agrees if the root mean
  square of its output is within 20 % of what the plan expects.

**{planned} of {parameters} parameters are planned alike ({planned_share:.1%}). For {expected} of them
the expected size is also the same ({expected_share:.1%}). {agreeing} of {layers} layers have the
expected size when measured ({agreeing_share:.1%}).**

| model | library | parameters | alike | expected | layers | measured | measured/expected |
|---|---|---|---|---|---|---|---|
"""

APART = """
## Layers whose measured size differs

A dash means that the plan does not know the expected size.

| model | layer | expected | measured |
|---|---|---|---|
"""


def document(rows: dict[str, Row]) -> str:
    """Return the page."""
    totals = {
        "parameters": sum(row.parameters for row in rows.values()),
        "planned": sum(row.planned for row in rows.values()),
        "expected": sum(row.expected for row in rows.values()),
        "layers": sum(len(row.layers) for row in rows.values()),
        "agreeing": sum(row.agreeing for row in rows.values()),
    }
    text = HEAD.format(
        seeds=SEEDS,
        **totals,
        planned_share=totals["planned"] / totals["parameters"],
        expected_share=totals["expected"] / totals["parameters"],
        agreeing_share=totals["agreeing"] / totals["layers"],
    )
    for name, row in rows.items():
        ratios = [size / wanted for wanted, size in row.layers.values() if wanted]
        spread = f"{min(ratios):.2f} – {max(ratios):.2f}" if ratios else "–"
        text += (
            f"| {name} | {TWINS[name].library} | {row.parameters} | {row.planned} | {row.expected} "
            f"| {len(row.layers)} | {row.agreeing} | {spread} |\n"
        )
    text += APART
    for name, row in rows.items():
        for layer, (wanted, size) in row.layers.items():
            if not agrees(wanted, size):
                said = "–" if wanted is None else f"{wanted:.3g}"
                text += f"| {name} | `{layer}` | {said} | {size:.3g} |\n"
    return text


def main() -> None:
    """Compare, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(TWINS))
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    for name in arguments.models:
        rows[name] = row = compared(TWINS[name])
        print(
            f"{name}: {row.planned} and {row.expected} of {row.parameters} parameters, "
            f"{row.agreeing} of {len(row.layers)} layers",
            flush=True,
        )
    page = document(rows)
    if arguments.no_docs:
        print(page)
    else:
        write(PAGE, page)


if __name__ == "__main__":
    main()
