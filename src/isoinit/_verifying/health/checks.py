"""`check`: is the signal alive in this model, forward and backward?"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from isoinit._showing.findings import SEVERITIES, Finding, Verdict
from isoinit._showing.page import Page, Shown
from isoinit._showing.terminal import Printed, Tabled, counted
from isoinit._system.alone import alone
from isoinit._verifying.health.ahead import look_ahead
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.influence import has_influence
from isoinit._verifying.health.jacobian import singular_values
from isoinit._verifying.health.judge import judge
from isoinit._verifying.health.layers import LayerHealth, backward_signal, forward_signal
from isoinit._verifying.health.measure import measure
from isoinit._verifying.health.pages import health_page
from isoinit._verifying.health.table import kinds_of, table
from isoinit._verifying.health.weights import WeightHealth, measure_weights
from isoinit._verifying.losses import GivenLoss, inputs_and_loss
from isoinit._verifying.sharded import local, whole
from isoinit._writing.postponed import unfilled
from isoinit._writing.refusals import refuse_unready
from isoinit.errors import ArgumentError, PlanError

OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Health(Tabled, Shown, Verdict):
    """What a check measured and found.

    Attributes:
        findings: errors first, then warnings; empty for a model without fault.
        layers: the signal at each layer, in the order in which they ran.
        weights: every parameter: its scale, its effective rank, its gradient, its first step.
        loss: the loss at the start; None where a random gradient was sent back.
        chance: the loss of a model that knows nothing, ln C; None where the loss is not the mean
            cross-entropy over classes alone.
        jacobian: singular values of the input–output Jacobian, largest first; empty if not asked for.
        kinds: what makes layers of one kind, by the layer's name: the role of its weight.
    """

    findings: list[Finding]
    layers: list[LayerHealth]
    weights: list[WeightHealth]
    loss: float | None
    chance: float | None
    jacobian: tuple[float, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

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

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the check as a table: one row a kind of layer, and below it what was found.

        Layers are of one kind if their names differ in numbers alone (`h.0…11.attn`) and their weights
        have the same role. A row tells the least, the median and the largest of a kind over depth, a
        curve through depth, and the worst of what is left. A narrow terminal lacks room for ranks, or
        for medians. Where there are more than 24 kinds, those that findings name come first.

        Args:
            verbose: a row for every layer.

        Returns:
            Text, no wider than the terminal. `print(health)` prints it, too.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
            >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
            >>> _ = isoinit.init(model, batch, seed=0)
            >>> health = isoinit.check(model, batch)
            >>> health
            <Health: healthy, 20 layers>
            >>> len(health.show().splitlines()) < len(health.show(verbose=True).splitlines())
            True
        """
        verdict = "healthy" if self.ok else "unhealthy"
        through = counted(len(self.layers), "layer")
        title = f"{verdict}: the signal through {through}{self._summary()}"
        return table(title, self.layers, self.kinds, self.findings, verbose)

    def __repr__(self) -> str:
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        parts = [counted(len(self.layers), "layer")]
        parts += [counted(count, severity) for severity, count in counts.items() if count]
        return f"<Health: {', '.join(['healthy' if self.ok else 'unhealthy', *parts])}>"

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
    with alone():
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
        ahead = look_ahead(model, parameters, batch, loss, optimizer, measured, weights, roles)
        facts = Facts(
            measured,
            weights,
            roles,
            parameters,
            examples,
            identical,
            _resting(model),
            optimizer,
            ahead,
            model,
            plan,
            lambda names: has_influence(model, parameters, batch, loss, names),
        )
        spectrum = singular_values(model, batch) if jacobian else ()
        return Health(
            judge(facts),
            measured.layers,
            list(weights.values()),
            measured.loss,
            measured.chance,
            spectrum,
            kinds_of(roles),
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
