"""Findings about a parametrization: changes that grow or shrink with the width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from isoinit._showing.findings import Finding, errors_first, listed
from isoinit._verifying.coordinates.moves import BOUNDED, Kind
from isoinit._verifying.coordinates.trials import Trial

LIMIT = 0.25  # of a slope's size: halfway between flat and the √width of one factor that is missing
SOURCE = (
    "at any width every activation keeps its size, and training changes it equally (Yang et al. 2022, "
    "Tensor Programs V; microsoft/mup, README, 'Coord Check')"
)
ADVICE = {
    "standard": "one learning rate for all widths causes this: initialize and train with "
    "isoinit.transfer",
    "transfer": "a learning rate tuned at one width may be wrong at another: see the notes of "
    "isoinit.transfer(build, ...), and declare constant factors in the forward pass",
    "own": "a learning rate tuned at one width may be wrong at another: check the std and the "
    "learning rate of the weights before this output, or compare with parametrization='transfer'",
}

BY_GRADIENT = (
    "steps of sgd are proportional to the gradient, which follows the output at initialization, and "
    "that falls with the width: start the readout at zero to see whether the slope stays"
)


def judge(
    kinds: Sequence[Kind],
    trials: Sequence[Trial],
    step: int,
    parametrization: str,
    optimizer: str,
) -> list[Finding]:
    """Return what was found, errors first.

    Args:
        kinds: the layers by kind.
        trials: the trainings.
        step: after which it is judged.
        parametrization: "transfer", "standard" or "own".
        optimizer: its name.
    """
    advice = ADVICE[parametrization]
    found = [*_diverged(trials, advice)]
    falling = BY_GRADIENT if optimizer == "sgd" else advice
    for kind in kinds if not found else ():
        found += _slopes(kind, step, advice, falling)
    return errors_first(found)


def _diverged(trials: Sequence[Trial], advice: str) -> Iterator[Finding]:
    """A training whose loss was no longer finite."""
    lost = [trial for trial in trials if trial.diverged]
    if not lost:
        return
    first, step = lost[0], len(lost[0].losses)
    widths = ", ".join(map(str, dict.fromkeys(trial.width for trial in lost)))
    yield Finding(
        "diverged",
        "error",
        (),
        first.losses[-1],
        math.inf,
        "no change can be measured after it",
        f"use a smaller lr; if narrow models train with this one, {advice}",
        f"at width {widths} the loss is {first.losses[-1]} before step {step} (seed {first.seed}), so "
        "slopes were not computed",
    )


def _slopes(kind: Kind, step: int, advice: str, falling: str) -> Iterator[Finding]:
    """The slope of a kind, and those of single layers in it."""
    yield from _unknown(kind, step)
    slopes = kind.slopes(step)
    over = {name: slope for name, slope in slopes.items() if _beyond(slope, kind.kind)}
    if slopes and _beyond(slope := kind.slope(step), kind.kind):
        told = advice if slope > 0 else falling
        yield _finding(kind, list(slopes), slope, step, "error", told)
    elif over:
        worst = max(over.values(), key=abs)
        told = advice if worst > 0 else falling
        yield _finding(kind, list(over), worst, step, "warning", told)


def _beyond(slope: float, kind: str) -> bool:
    return slope > LIMIT or (slope < -LIMIT and kind not in BOUNDED)


def _finding(
    kind: Kind, names: list[str], slope: float, step: int, severity: str, advice: str
) -> Finding:
    grows = slope > 0
    named = kind.name if severity == "error" else listed(names)
    bound = f"at most {LIMIT}" if kind.kind in BOUNDED else f"within ±{LIMIT}"
    return Finding(
        "grows with width" if grows else "shrinks with width",
        severity,
        tuple(names),
        slope,
        LIMIT if grows else -LIMIT,
        SOURCE,
        advice,
        f"{named}: the change after step {step} follows width^{slope:.2f}; expected {bound}",
    )


def _unknown(kind: Kind, step: int) -> Iterator[Finding]:
    """The layers whose outputs did not move, or not at all widths."""
    still, rest, at = [], [], dict[int, None]()
    for layer in kind.layers:
        changes = layer.by_width(step)
        if not any(changes):
            still.append(layer.name)
        elif math.isnan(layer.slope(step)):
            rest.append(layer.name)
            pairs = zip(layer.widths, changes, strict=True)
            at |= dict.fromkeys(width for width, change in pairs if not 0 < change < math.inf)
    if still:
        yield Finding(
            "not moved",
            "remark",
            tuple(still),
            0.0,
            0.0,
            "a slope needs a change",
            "use more steps, or a batch that reaches it",
            f"{listed(still)}: the output is the same after step {step} at every width",
        )
    if rest:
        yield Finding(
            "moved at some widths",
            "error",
            tuple(rest),
            float(min(at)),
            0.0,
            "a slope needs a change at every width",
            "look at this width with isoinit.check(model, batch)",
            f"{listed(rest)}: at width {', '.join(map(str, at))} the output has not changed after "
            f"step {step}, or is not finite",
        )
