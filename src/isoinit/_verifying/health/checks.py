"""`check`: is the signal alive in this model, forward and backward?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from isoinit._planning.plan import Plan
from isoinit._reading.roles import read_roles
from isoinit._reading.torch import as_arguments, require_parameters, structure
from isoinit._reading.torch.charts import weights_made
from isoinit._reading.torch.trees import tensors_in
from isoinit._showing import tensorboard as board
from isoinit._showing.findings import Finding, Verdict
from isoinit._showing.page import Page, Shown
from isoinit._showing.sparkline import sparkline
from isoinit._showing.table import render
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.jacobian import singular_values
from isoinit._verifying.health.judge import judge
from isoinit._verifying.health.layers import LayerHealth, backward_signal, forward_signal
from isoinit._verifying.health.measure import measure
from isoinit._verifying.health.pages import health_page
from isoinit._verifying.health.weights import WeightHealth, measure_weights
from isoinit._verifying.losses import GivenLoss, inputs_and_loss
from isoinit._verifying.sharded import local, whole
from isoinit._writing.postponed import unfilled
from isoinit._writing.refusals import refuse_unready
from isoinit.errors import ArgumentError, PlanError

DEEP = 4  # layers from which on a curve tells more than the table
SHOWN = 16  # rows of a printed table; deeper models show layers at even distances
OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Health(Shown, Verdict):
    """What a check measured and found.

    Attributes:
        findings: errors first, then warnings; empty for a model without fault.
        layers: the signal at each layer, in the order in which they ran.
        weights: every parameter: its scale, its effective rank, its gradient, its first step.
        loss: the loss at the start; None where a random gradient was sent back.
        chance: the loss of a model that knows nothing, ln C; None where the loss is not the mean
            cross-entropy over classes alone.
        jacobian: singular values of the input–output Jacobian, largest first; empty if not asked for.
    """

    findings: list[Finding]
    layers: list[LayerHealth]
    weights: list[WeightHealth]
    loss: float | None
    chance: float | None
    jacobian: tuple[float, ...] = field(default=(), repr=False)

    @property
    def forward(self) -> list[float | None]:
        """The signal by depth: how much each layer's output differs between examples.

        Of a batch of one the size of the output stands for it. None where it is not known.
        """
        return forward_signal(self.layers)

    @property
    def backward(self) -> list[float | None]:
        """The size of the gradient at each layer's output; None where none came back."""
        return backward_signal(self.layers)

    def to_json(self) -> str:
        """The check as JSON; numbers that are not finite become null."""
        return self._json(
            loss=self.loss,
            chance=self.chance,
            layers=[asdict(layer) for layer in self.layers],
            weights=[_without(asdict(weight), "histogram") for weight in self.weights],
            jacobian=self.jacobian,
        )

    def _page(self) -> Page:
        return health_page(self, self.layers, self.weights, self.loss, self.chance)

    def log(self, writer: Any, step: int = 0) -> None:
        """Write the check to TensorBoard: findings as text, and curves through depth.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`, or anything with its `add_scalar` and
                `add_text`.
            step: of the training; 0 is its start.
        """
        board.log(writer, self.findings, self.layers, step)

    def __str__(self) -> str:
        step = max(1, math.ceil(len(self.layers) / SHOWN))
        columns = self._columns()
        rows = [
            (layer.name, *(cell(layer) for cell in columns.values()))
            for index, layer in enumerate(self.layers)
            if index % step == 0 or index == len(self.layers) - 1
        ]
        verdict = "healthy" if self.ok else "unhealthy"
        every = f" (one in {step} shown)" if step > 1 else ""
        return render(
            f"{verdict}: the signal through {len(self.layers)} layers{every}{self._summary()}",
            ("layer", *columns),
            rows,
            notes=self._curves(),
            warnings=[str(finding) for finding in self.findings],
        )

    def _curves(self) -> list[str]:
        """The signal by depth, each direction in a line; nothing of a network that has no depth."""
        if len(self.layers) < DEEP:
            return []
        return [
            f"{name:<9}{sparkline(sizes, SHOWN)}  {what}, {least:.2g} to {largest:.2g}, log scale"
            for name, what, sizes in (
                ("forward", "differences between examples", self.forward),
                ("backward", "gradients", self.backward),
            )
            if (there := [size for size in sizes if size is not None])
            for least, largest in [(min(there), max(there))]
        ]

    def _columns(self) -> dict[str, Callable[[LayerHealth], str]]:
        """What the table shows of each layer: what is measured anywhere."""
        chosen: dict[str, Callable[[LayerHealth], str]] = {
            "output rms": lambda x: _number(x.rms),
            "expected": lambda x: _number(x.expected),
            "alike": lambda x: _number(x.correlation, "{:.2f}"),
            "rank": lambda x: _number(x.rank, "{:.0f}"),
            "dead": lambda x: _number(x.dead, "{:.0%}"),
            "saturated": lambda x: _number(x.saturated, "{:.0%}"),
            "gradient rms": lambda x: _number(x.gradient),
        }
        always = ("output rms", "gradient rms")
        return {
            name: cell
            for name, cell in chosen.items()
            if name in always or any(cell(layer) not in ("", "0%") for layer in self.layers)
        }

    def _summary(self) -> str:
        parts = []
        if self.loss is not None:
            level = "" if self.chance is None else f" (chance: {self.chance:.4g})"
            parts.append(f"loss {self.loss:.4g}{level}")
        if self.jacobian:
            low, middle, high = (self.jacobian[i] for i in (-1, len(self.jacobian) // 2, 0))
            parts.append(f"Jacobian {low:.3g} to {high:.3g}, median {middle:.3g}")
        return "".join(f"; {part}" for part in parts)


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def _number(value: float | None, form: str = "{:.3g}") -> str:
    return "" if value is None or math.isnan(value) else form.format(value)


def check(
    model: nn.Module,
    batch: Any,
    *,
    loss: GivenLoss | None = None,
    plan: Plan | None = None,
    lr: float | None = None,
    optimizer: str = "adam",
    jacobian: bool = False,
) -> Health:
    """Measure the signal through a model, forward and backward, and judge it.

    One forward and one backward pass on the batch, as a step of training would make them: in the
    model's present mode, under the `torch.autocast` that is active, sharded or not. The model is as
    before afterwards: parameters, gradients, buffers, mode, hooks and random number generators. No
    second copy of it is made.

    Args:
        model: an initialized model.
        batch: real examples, as for `isoinit.plan`; more than a few, since sizes are averages.
        loss: a function from the model's output to a scalar loss, or one of the output and the
            targets, such as `torch.nn.CrossEntropyLoss()`, with a batch `(inputs, targets)`. Without
            one, the output's own `loss` is used if it has one (as `transformers` models have, given
            labels); else a random gradient of unit size is sent back from the output.
        plan: the plan that the model was initialized with, made with a batch like this one: what it
            expects of each layer's output then stands beside what was measured, and is judged.
        lr: the learning rate that training will start with: the first step is then compared with
            the weights.
        optimizer: what makes that step: "adam" (and AdamW) or "sgd".
        jacobian: also work out the singular values of the input–output Jacobian by `torch.func`,
            for one example. Takes a backward pass for each output; up to 2²⁴ numbers.

    Raises:
        ArgumentError: for a batch of another kind, a model without parameters, a loss without
            its targets, or that is not one number or does not depend on the parameters, a learning
            rate that is not above zero, an unknown optimizer, or a Jacobian that is too large.
        PlanError: for parameters on the meta device, of a type that cannot be trained, or built
            under `isoinit.deferred` and not filled since.
        TraceError: if the forward fails, with the model's own error.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
        >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
        >>> isoinit.check(model, batch).ok  # torch's default loses the signal
        False
        >>> _ = isoinit.init(model, batch, seed=0)
        >>> isoinit.check(model, batch).ok
        True
        >>> labels = torch.arange(32) % 64
        >>> isoinit.check(model, (batch, labels), loss=torch.nn.CrossEntropyLoss()).chance
        4.1588...
    """
    batch, loss = inputs_and_loss(batch, loss)
    parameters, _ = require_parameters(model, "check")
    _refuse_unready(parameters, lr, optimizer)
    measured = measure(model, parameters, batch, loss)
    if plan is not None:
        for layer in measured.layers:
            names = (f"{layer.name}.weight", layer.name)
            layer.expected = next((plan[name].expected for name in names if name in plan), None)
    roles = read_roles(measured.graph, lambda: structure(model))
    made = weights_made(model, measured.graph, whole)
    weights = measure_weights(parameters, roles, measured.gradients, lr, optimizer, made)
    examples, identical = _examples(batch)
    facts = Facts(
        measured, weights, roles, parameters, examples, identical, _resting(model), optimizer
    )
    spectrum = singular_values(model, batch) if jacobian else ()
    return Health(
        judge(facts),
        measured.layers,
        list(weights.values()),
        measured.loss,
        measured.chance,
        spectrum,
    )


def _refuse_unready(parameters: dict[str, nn.Parameter], lr: float | None, optimizer: str) -> None:
    # Of a sharded parameter what counts is the part that lies here.
    refuse_unready({name: local(p) for name, p in parameters.items()}, now=True)
    if names := unfilled(parameters):
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise PlanError(
            f"parameter {names[0]!r}{more} was built under isoinit.deferred and holds no values yet: "
            "call isoinit.init(model, batch) or apply a plan first"
        )
    refuse_optimizer(optimizer, lr)


def refuse_optimizer(optimizer: str, lr: float | None) -> None:
    """Raise `ArgumentError` for an unknown optimizer, or a learning rate that makes no step."""
    if lr is not None and not 0 < lr < math.inf:
        raise ArgumentError(f"lr={lr!r}: expected a learning rate that is finite and above 0")
    if optimizer not in OPTIMIZERS:
        raise ArgumentError(f"optimizer={optimizer!r}: expected {' or '.join(OPTIMIZERS)}")


def _examples(batch: Any) -> tuple[int | None, bool]:
    """How many examples a batch holds, and whether there are several that are all the same."""
    tensors = [t for t in tensors_in(as_arguments(batch)) if t.dim() and t.layout is torch.strided]
    counts = {len(tensor) for tensor in tensors}
    if len(counts) != 1:
        return None, False
    count = counts.pop()
    several = count > 1 and any(t.numel() for t in tensors)
    return count, several and all(bool((t == t[:1]).all()) for t in tensors)


def _resting(model: nn.Module) -> tuple[str, ...]:
    """The layers in evaluation mode that would behave otherwise in training."""
    return tuple(
        name
        for name, module in model.named_modules()
        if not module.training
        and (
            (isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats)
            or (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
        )
    )
