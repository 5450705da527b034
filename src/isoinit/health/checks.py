"""`check`: is the signal alive in this model, forward and backward?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from isoinit.errors import PlanError
from isoinit.fill import refuse_unfillable
from isoinit.findings import Finding, Verdict
from isoinit.health.findings import Facts, judge
from isoinit.health.measure import Layer, Loss, measure
from isoinit.plans import Plan
from isoinit.postpone import unfilled
from isoinit.report.table import render
from isoinit.roles import read_roles
from isoinit.trace import require_parameters, structure

SHOWN = 16  # rows of a printed table; deeper models show layers at even distances


@dataclass(frozen=True)
class Health(Verdict):
    """What a check measured and found.

    Attributes:
        findings: errors first, then warnings; empty for a model without fault.
        layers: the signal at each layer, in the order in which they ran.
        loss: the loss at the start; None where a random gradient was sent back.
    """

    findings: list[Finding]
    layers: list[Layer]
    loss: float | None

    def to_json(self) -> str:
        """The check as JSON; numbers that are not finite become null."""
        layers = [asdict(layer) for layer in self.layers]
        return self._json(loss=self.loss, layers=layers)

    def __str__(self) -> str:
        step = max(1, math.ceil(len(self.layers) / SHOWN))
        expects = any(layer.expected is not None for layer in self.layers)
        rows = [
            (layer.name, *_cells(layer, expects=expects))
            for index, layer in enumerate(self.layers)
            if index % step == 0 or index == len(self.layers) - 1
        ]
        verdict = "healthy" if self.ok else "unhealthy"
        every = f" (one in {step} shown)" if step > 1 else ""
        return render(
            f"{verdict}: the signal through {len(self.layers)} layers{every}",
            ("layer", "output rms", *["expected"] * expects, "over examples", "gradient rms"),
            rows,
            warnings=[str(finding) for finding in self.findings],
        )


def _cells(layer: Layer, *, expects: bool) -> list[str]:
    expected = "" if layer.expected is None else f"{layer.expected:.3g}"
    cells = [f"{x:.3g}" for x in (layer.rms, layer.spread, layer.gradient)]
    return [cells[0], *[expected] * expects, *cells[1:]]


def check(
    model: nn.Module, batch: Any, *, loss: Loss | None = None, plan: Plan | None = None
) -> Health:
    """Measure the signal through a model, forward and backward, and judge it.

    One forward and one backward pass on the batch. The model is as before afterwards: parameters,
    gradients, buffers, mode, hooks and random number generators.

    Args:
        model: an initialized model.
        batch: real examples, as for `isoinit.plan`; more than a few, since sizes are averages.
        loss: a function from the model's output to a scalar loss. Without one, the output's own
            `loss` is used if it has one (as `transformers` models have, given labels); else a
            random gradient of unit size is sent back from the output.
        plan: the plan that the model was initialized with, made with a batch like this one: what it
            expects of each layer's output then stands beside what was measured.

    Raises:
        ArgumentError: for a batch of another kind, a model without parameters, or a loss that is
            not one number or does not depend on the parameters.
        PlanError: for parameters on the meta device, of a type that cannot be trained, or built
            under `isoinit.deferred` and not filled since.
        TraceError: if the forward fails, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
        >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
        >>> isoinit.check(model, batch).ok  # torch's default loses the signal
        False
        >>> _ = isoinit.init(model, batch)
        >>> isoinit.check(model, batch).ok
        True
    """
    parameters, _ = require_parameters(model, "check")
    refuse_unfillable(parameters, now=True)
    if names := unfilled(parameters):
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise PlanError(
            f"parameter {names[0]!r}{more} was built under isoinit.deferred and holds no values yet: "
            "call isoinit.init(model, batch) or apply a plan first"
        )
    measured = measure(model, parameters, batch, loss)
    if plan is not None:
        for layer in measured.layers:
            places = (f"{layer.name}.weight", layer.name)
            layer.expected = next((plan[name].expected for name in places if name in plan), None)
    roles = read_roles(measured.graph, lambda: structure(model))
    findings = judge(Facts(measured, roles, parameters))
    return Health(findings, measured.layers, measured.loss)
