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
RARE = 3.09  # standard deviations: one normal draw in a thousand lies beyond, on either side
BY_ITSELF = (trend.signal, trend.distinction, trend.gradient, training.dead, training.saturated)


def unexpected(facts: Facts) -> Iterator[Finding]:
    """Layers whose first output is of another size than the plan expects.

    The expectation may itself be wrong, so it is an error only where the measured signal is bad too.
    Elsewhere isoinit may have read the model wrongly.
    """
    sizes: dict[str, tuple[float, int]] = {}
    for layer in facts.measured.layers:
        if layer.expected and math.isfinite(layer.rms) and layer.rms > 0:
            sizes.setdefault(layer.name, (layer.rms / layer.expected, layer.units))
    off = {name: ratio for name, (ratio, _) in sizes.items() if max(ratio, 1 / ratio) > OFF}
    told = {n: ratio for n, ratio in off.items() if not by_chance(ratio, sizes[n][1])}
    if not off:
        return
    found = (f for finder in BY_ITSELF for f in finder(facts) if f.severity == "error")
    bad = {name for finding in found for name in finding.where}
    faults = {n: ratio for n, ratio in off.items() if n in bad and max(ratio, 1 / ratio) > FAR}
    for severity, limit, far in (("error", FAR, faults), ("remark", OFF, told)):
        if far:
            name = max(far, key=lambda n: abs(math.log(far[n])))
            yield Finding(
                "not as planned",
                severity,
                tuple(far),
                far[name],
                limit,
                "the plan predicts the size of each layer's output from its weights and input",
                apply_plan(facts, facts.weights)
                or "use a batch like the plan's; if it is one, the plan misread the model there"
                + (f", and {facts.words.calibrate}" if facts.words.calibrate else ""),
                f"{listed(list(far))}: the output is {far[name]:.3g}× the size that the plan expects"
                + ("" if len(far) == 1 else " at most" if far[name] > 1 else " at least"),
            )
            return


def by_chance(ratio: float, units: int) -> bool:
    """Return whether a size may differ that much from its mean, for so few units.

    Of examples that are all alike, each unit gives one number: a normal draw. Their mean square is
    that of `units` draws, χ²/units. One in a thousand lies beyond either limit (Wilson & Hilferty
    1931): with 16 units a factor of 2, while one unit is often near zero.
    """
    spread = math.sqrt(2 / (9 * max(units, 1)))
    low, high = 1 - spread**2 - RARE * spread, 1 - spread**2 + RARE * spread
    return math.pow(max(low, 0.0), 1.5) <= ratio <= math.pow(high, 1.5)
