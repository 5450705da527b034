"""Judges a measurement: what is wrong, where, how bad, and what to do about it.

Each finder is one function from the facts to findings. Thresholds stand at its head with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from isoinit.findings import Finding, listed
from isoinit.health.measure import Layer, Measurement
from isoinit.roles import Role


@dataclass(frozen=True)
class Facts:
    """All that the finders look at."""

    measured: Measurement
    roles: dict[str, Role]
    parameters: dict[str, nn.Parameter]


ENDS = ("weight", "scale")  # what a branch is multiplied by at its end
APPLY = "apply isoinit.plan(model, batch), which scales each layer for the activation beside it"

# A signal that changes a thousandfold between the first layer and the last leaves float16's range
# of useful gradients and stalls any optimizer with one learning rate (Glorot & Bengio 2010, figures
# 6 and 7; He et al. 2015, figure 3). Thirtyfold trains, but slowly.
ERROR, WARNING = 1e3, 30.0


def unmeasured(facts: Facts) -> Iterator[Finding]:
    """A model with weight matrices, of which the forward showed none: no verdict is possible."""
    tables = {name for name, role in facts.roles.items() if role.slot in ("table", "position")}
    matrices = [n for n, p in facts.parameters.items() if p.dim() > 1 and n not in tables]
    if matrices and not facts.measured.layers:
        yield Finding(
            "nothing measured",
            "error",
            tuple(matrices),
            0.0,
            1.0,
            "a check that saw no layer says nothing about the model",
            "check that the forward uses the weights, and runs in Python (a scripted module does not)",
            f"{listed(matrices)}: the forward showed no use of these weights",
        )


def not_finite(facts: Facts) -> Iterator[Finding]:
    """The first layer whose output is NaN or infinite."""
    for layer in facts.measured.layers:
        if not math.isfinite(layer.rms):
            yield Finding(
                "not finite",
                "error",
                (layer.name,),
                layer.largest,
                math.inf,
                "a value that is not finite makes every later one so",
                "look at this layer's weights and input; " + APPLY,
                f"{layer.name}: the output holds NaN or infinity",
            )
            return


def symmetry(facts: Facts) -> Iterator[Finding]:
    """Weight matrices whose units are all identical."""
    names = [
        name
        for name, role in facts.roles.items()
        if role.must_differ and _units_identical(facts, role)
    ]
    if names:
        yield Finding(
            "symmetry",
            "error",
            tuple(names),
            float(len(names)),
            0.0,
            "units that start identical receive identical gradients and stay so",
            "draw weights at random: " + APPLY,
            f"{listed(names)}: all units of the layer have the same weights, so symmetry stays "
            "unbroken and the layer learns no more than one unit",
        )


def _units_identical(facts: Facts, role: Role) -> bool:
    layout = role.layout
    if not layout.out or math.prod(layout.grid[axis] for axis in layout.out) < 2:
        return False
    weight = facts.parameters[role.parameter].detach().reshape(layout.grid)
    units = weight.movedim(layout.out, tuple(range(len(layout.out)))).flatten(
        0, len(layout.out) - 1
    )
    return bool((units == units[:1]).all())


def signal(facts: Facts) -> Iterator[Finding]:
    """The forward signal shrinks or grows with depth."""
    yield from _trend(
        facts.measured.layers, lambda layer: layer.rms, "signal", "activations", back=False
    )


def distinction(facts: Facts) -> Iterator[Finding]:
    """The outputs of different examples become the same with depth."""
    known = [layer for layer in facts.measured.layers if not math.isnan(layer.spread)]
    for finding in _trend(
        known, lambda layer: layer.spread, "distinction", "differences between examples", back=False
    ):
        if "exploding" not in finding.name:  # the size itself says so already
            yield finding


def gradient(facts: Facts) -> Iterator[Finding]:
    """The backward signal shrinks or grows on its way from the output."""
    shut = _behind_zero(facts)
    came = [
        layer
        for layer in facts.measured.layers
        if not math.isnan(layer.gradient) and not (layer.gradient == 0 and layer.value in shut)
    ]
    yield from _trend(came, lambda layer: layer.gradient, "gradient", "gradients", back=True)


def _behind_zero(facts: Facts) -> set[int]:
    """What residual branches hold that end with zero: by design no gradient comes there at first."""
    graph = facts.measured.graph
    found: set[int] = set()
    for join in graph.joins.values():
        ends = [use.parameter for index in join.ends for use in graph.ops[index].uses]
        if any(not facts.parameters[n].any() for n in ends if facts.roles[n].slot in ENDS):
            found.update(v for index in graph.inside(join) for v in graph.ops[index].outputs)
    return found


def _trend(
    layers: Sequence[Layer],
    size: Callable[[Layer], float],
    what: str,
    things: str,
    *,
    back: bool,
) -> Iterator[Finding]:
    """Judge how a size changes with depth, by the median slope of its logarithm (Theil–Sen).

    The median slope follows a steady change over the layers and not a few layers of another kind.
    """
    sized = [(layer.name, size(layer)) for layer in layers if math.isfinite(size(layer))]
    gone = [name for name, s in sized if s == 0]
    alive = [(name, math.log(s)) for name, s in sized if s > 0]
    if not alive and gone:
        yield _finding(f"no {what}", "error", gone, 0.0, f"{things} are exactly zero", "")
        return
    if len(alive) < 2:
        return
    slopes = [
        (alive[j][1] - alive[i][1]) / (j - i)
        for i in range(len(alive))
        for j in range(i + 1, len(alive))
    ]
    rate = median(slopes) * (-1 if back else 1)
    total = math.exp(min(rate * (len(sized) - 1), 700))
    change = max(total, 1 / total if total > 0 else math.inf)
    if change > WARNING:
        verb, name = ("grow", f"exploding {what}") if rate > 0 else ("shrink", f"vanishing {what}")
        factor = math.exp(abs(rate))
        names = [name_ for name_, _ in sized]
        direction = " on their way back" if back else " with depth"
        yield _finding(
            name,
            "error" if change > ERROR else "warning",
            names,
            total,
            f"{things} {verb} by {factor:.3g}× a layer{direction}",
            f", {change:.2g}× over {len(sized)} layers",
        )
    elif len(gone) > len(sized) / 2:
        yield _finding(f"no {what}", "error", gone, 0.0, f"{things} are exactly zero", "")


def _finding(
    name: str, severity: str, where: Sequence[str], value: float, words: str, more: str
) -> Finding:
    span = f"layer {where[0]}" if len(where) == 1 else f"layers {where[0]} to {where[-1]}"
    return Finding(
        name,
        severity,
        tuple(where),
        value,
        ERROR if severity == "error" else WARNING,
        "Glorot & Bengio 2010, figures 6 and 7; He et al. 2015, figure 3",
        APPLY,
        f"{span}: {words}{more}",
    )


def unused(facts: Facts) -> Iterator[Finding]:
    """Trained parameters that the loss does not depend on."""
    names = tuple(n for n, size in facts.measured.gradients.items() if size is None)
    if names:
        yield Finding(
            "unused parameter",
            "warning",
            names,
            0.0,
            0.0,
            "a parameter without a gradient is never trained",
            "check that the forward uses them, or set requires_grad to False",
            f"{listed(names)}: no gradient comes back to these parameters on this batch",
        )


FINDERS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    unmeasured,
    not_finite,
    symmetry,
    signal,
    distinction,
    gradient,
    unused,
)


def judge(facts: Facts) -> list[Finding]:
    """Everything that the finders find, errors first."""
    with torch.no_grad():
        found = [finding for finder in FINDERS for finding in finder(facts)]
    return sorted(found, key=lambda finding: finding.severity)
