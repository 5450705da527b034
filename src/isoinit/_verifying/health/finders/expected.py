"""Layers whose output is of another size than the plan expects."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.finders import training, trend
from isoinit._verifying.health.remedy import apply_plan

FAR = 5.0
OFF = 2.0  # a factor that no usual noise of a batch and of the weights makes
BY_ITSELF = (trend.signal, trend.distinction, trend.gradient, training.dead, training.saturated)


def unexpected(facts: Facts) -> Iterator[Finding]:
    """Layers whose first output is of another size than the plan expects.

    What was expected is evidence, not law: a model is at fault where the measured signal is bad by
    itself, too. Else it is the reading of the model that may be.
    """
    off: dict[str, float] = {}
    for layer in facts.measured.layers:
        if layer.expected and math.isfinite(layer.rms) and layer.rms > 0:
            off.setdefault(layer.name, layer.rms / layer.expected)
    off = {name: ratio for name, ratio in off.items() if max(ratio, 1 / ratio) > OFF}
    if not off:
        return
    found = (f for finder in BY_ITSELF for f in finder(facts) if f.severity == "error")
    bad = {name for finding in found for name in finding.where}
    for severity, limit in (("error", FAR), ("remark", OFF)):
        far = {
            name: ratio
            for name, ratio in off.items()
            if severity == "remark" or (name in bad and max(ratio, 1 / ratio) > limit)
        }
        if far:
            name = max(far, key=lambda n: abs(math.log(far[n])))
            yield Finding(
                "not as planned",
                severity,
                tuple(far),
                far[name],
                limit,
                "the plan expects a size for each layer's output from the weights before it",
                apply_plan(facts, facts.weights)
                or "with a batch like the plan's, the plan reads the model wrong there"
                + (f", and {facts.words.calibrate}" if facts.words.calibrate else ""),
                f"{listed(list(far))}: the output is {far[name]:.3g}× what the plan expects"
                + ("" if len(far) == 1 else " at most" if far[name] > 1 else " at least"),
            )
            return
