"""Where the distributions of a network begin: at a plan, at trained weights, or at what data say.

Adding a start is one class here, with what `convert` asks of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit._planning.plan import Plan
from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.names import named_modules
from isoinit._reading.torch.numbers import doubled
from isoinit._system.signals import call_user
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Variational
from isoinit.variational.gaussian import distribution_of, distributions
from isoinit.variational.mirror_gain import restoring_gain
from isoinit.variational.priors import require_number


@dataclass(frozen=True)
class Trained:
    """Begin at the values that the model has: those of a trained network, in most cases.

    Each weight w becomes a Gaussian around w with standard deviation `delta`·|w|. Weights near zero
    would so have almost no std, which nothing can widen in the time that training has; so it is
    `delta`·`floor` times the root mean square of their tensor at least.

    Args:
        delta: std over weight, above 0.
        floor: the least |w| that counts, as a share of the tensor's root mean square, above 0.

    Source: Krishnan, Subedar, Tickoo 2020 (MOPED), section 3; the floor is ours.

    Raises:
        ArgumentError: for a value out of range.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> trained = torch.nn.Linear(4, 2)
        >>> layer = variational.convert(trained, start=variational.Trained(), inplace=False)
        >>> bool((variational.freeze(layer).weight == trained.weight).all())
        True
    """

    delta: float = 0.1
    floor: float = 0.1

    def __post_init__(self) -> None:
        require_number("Trained", "delta", self.delta, above=0)
        require_number("Trained", "floor", self.floor, above=0)


@dataclass(frozen=True)
class Begin:
    """Where one parameter begins.

    Attributes:
        shrink: what its present value is multiplied by to make the mean.
        std: the first standard deviation, given the mean.
    """

    shrink: float
    std: Callable[[torch.Tensor], torch.Tensor]


def begin_at(plan: Plan, name: str, scale: float, start: Any, value: torch.Tensor) -> Begin:
    """Where a parameter begins: at its plan, or at its present value under `Trained`.

    Raises:
        PlanError: if the plan has no entry for it, or gives it no finite std.
        ArgumentError: if a present value is NaN or infinite.
    """
    if isinstance(start, Trained):
        if not bool(value.isfinite().all()):
            raise ArgumentError(
                f"nothing was changed: {name!r} holds NaN or infinity; Trained() starts from the "
                "current values, so load the trained weights first"
            )
        return Begin(1.0, lambda mean: _share_of(mean, start, planned_spread(plan, name)))
    total = planned_spread(plan, name)
    entry = plan[name]
    scale = entry.initializer.scale if isinstance(entry.initializer, Variational) else scale
    # A sampled weight then has the planned variance in all. What is no map keeps its mean.
    shrink = restoring_gain(entry, scale) / math.sqrt(1 + scale**2) if entry.layout.is_map else 1.0
    spread = shrink * scale * total
    if not 0 < spread < math.inf:
        raise PlanError(
            f"nothing was changed: {entry.initializer} gives {name!r} a std of {spread:g}; "
            "expected a finite std above 0"
        )
    return Begin(shrink, lambda _: torch.full((), spread, dtype=torch.float64, device="cpu"))


def _share_of(mean: torch.Tensor, start: Trained, planned: float) -> torch.Tensor:
    size = doubled(mean).square().mean().sqrt()
    floor = start.floor * float(size) if size > 0 else planned
    return start.delta * doubled(mean).abs().clamp_min(floor)


def planned_spread(plan: Plan, name: str) -> float:
    """The standard deviation that a parameter was planned with.

    What starts at a constant has none, and gets that of the constant, for a scale; or, at zero, the
    one of a LeCun weight: a bias moves its unit as much as one of the unit's weights does, and a
    vector by itself has a length of 1.

    Raises:
        PlanError: if the plan has no entry for it.
    """
    if name not in plan:
        raise PlanError(
            f"nothing was changed: the plan has no entry for {name!r}. Make the plan from this "
            "model"
        )
    entry = plan[name]
    if entry.initializer is not None:
        if std := entry.initializer.std_for(entry.layout):
            return std
        if constant := abs(entry.initializer.mean_for(entry.layout)):
            return constant
    if entry.layout.is_map:
        return 1 / math.sqrt(entry.layout.fan_in)
    layer = name.rpartition(".")[0]
    for other in plan:
        if other.layout.is_map and other.name.rpartition(".")[0] == layer:
            return 1 / math.sqrt(other.layout.fan_in)
    return 1 / math.sqrt(max(math.prod(entry.shape), 1))


@dataclass(frozen=True, eq=False)
class Regression:
    """Begin at what each layer can learn from data by itself, in closed form.

    One forward runs through the model. Before each linear or convolutional layer computes, a Bayesian
    linear regression from its inputs to the targets, on a random part of the batch for each unit, sets
    the unit's weights and bias: the mean to the posterior's, the variance to one over the precision
    (which of all independent Gaussians is the nearest to the posterior). Its output then feeds the
    next layer's regression. Layers of other kinds, and grouped convolutions, begin at the plan.

    Args:
        inputs: a batch of real examples, as for `isoinit.plan`: some hundreds to thousands.
        targets: (examples,) class numbers for "labels"; (examples,) or (examples, outputs) numbers
            for "values".
        likelihood: what the targets are. Class numbers are turned into logits with noise, as
            regression on Dirichlet-distributed probabilities does.
        examples: how many each unit sees, at least 2; fewer make units differ more.
        noise_std: for "values": the noise of a target, in units of the targets' standard deviation.

    The inner layers are given standardized targets, so that the functions between layers see a usual
    signal; each of their units is given one of the targets, in turn. A layer of fan-in d solves a
    d × d system for each unit.

    Source: Rossi, Michiardi, Filippone 2019 (I-BLM); class numbers as in Milios et al. 2018, eq. 4.
        The standardized targets of inner layers are ours.

    Raises:
        ArgumentError: for a value out of range, or targets that do not fit.
    """

    inputs: Any
    targets: torch.Tensor
    likelihood: Literal["labels", "values"] = "labels"
    examples: int = 256
    noise_std: float = 0.1

    def __post_init__(self) -> None:
        require_number("Regression", "noise_std", self.noise_std, above=0)
        if self.likelihood not in ("labels", "values"):
            raise ArgumentError(
                f'Regression(likelihood={self.likelihood!r}): expected "labels" or "values"'
            )
        if not isinstance(self.examples, int) or self.examples < 2:
            raise ArgumentError(
                f"Regression(examples={self.examples!r}): expected an integer of at least 2"
            )
        if not isinstance(self.targets, torch.Tensor) or not self.targets.ndim:
            raise ArgumentError(
                "Regression(targets=...): expected a tensor with one row for each example"
            )
        whole = not self.targets.is_floating_point()
        if (self.likelihood == "labels") != (whole and self.targets.ndim == 1):
            kind = f"{self.targets.dtype}, shape {tuple(self.targets.shape)}"
            raise ArgumentError(
                f"Regression(targets=...) has {kind}; expected a vector of class indices for "
                '"labels", or floating-point numbers for "values"'
            )
        if not bool(self.targets.isfinite().all()):
            raise ArgumentError("Regression(targets=...) holds NaN or infinity")

    def read(self, model: nn.Module) -> dict[str, bool]:
        """The layers to begin so, in the order of their first calls, and whether another follows.

        Raises:
            ArgumentError: if there are none, or the targets do not fit; nothing is changed.
        """
        order: dict[str, bool] = {}
        names = _names(model)

        def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            name = names[id(layer)]
            if name not in order and len(inputs[0]) != len(self.targets):
                raise ArgumentError(
                    f"nothing was changed: Regression has {len(self.targets)} targets, but layer "
                    f"{name!r} gets {len(inputs[0])} rows. Give one target for each row"
                )
            order[name] = True

        self._run(model, names, note)
        if not order:
            raise ArgumentError(
                f"{type(model).__name__} has no nn.Linear and no convolution, so Regression has "
                "no layer to start from"
            )
        order[list(order)[-1]] = False
        return order

    def regress(self, model: nn.Module, calls: dict[str, bool], seed: int) -> None:
        """Set the distributions of a converted model, given what `read` says of it."""
        targets, variances = self._logits()
        examples = min(self.examples, len(targets))
        fits = {
            name: _Fit(name, targets, variances, examples, seed, inner)
            for name, inner in calls.items()
        }
        names = _names(model)

        def begin(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            if (fit := fits.pop(names[id(layer)], None)) is not None:  # at its first call
                fit.set(layer, inputs[0])

        draws = next(gaussian for gaussian, _ in distributions(model)).draws
        with draws.fixed(torch.tensor(seed % 2**63, device="cpu")):
            self._run(model, names, begin)

    def _run(self, model: nn.Module, names: dict[int, str], hook: Callable[..., None]) -> None:
        """One forward with a hook before the layers, as in evaluation: no buffer changes."""
        args, kwargs = as_arguments(self.inputs)
        layers = [m for m in model.modules() if isinstance(m, _LAYERS) and id(m) in names]
        handles = [layer.register_forward_pre_hook(hook) for layer in layers]
        modes = [(module, module.training) for module in model.modules()]
        try:
            with torch.no_grad():
                call_user(model.eval(), *args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
            for module, training in modes:
                module.training = training

    def _logits(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets (examples, outputs), and the variance of each one's noise."""
        if self.likelihood == "values":
            values = self.targets.double().reshape(len(self.targets), -1)
            noise = self.noise_std * values.std(0).clamp_min(1e-12)
            return values, noise.square().expand_as(values)
        # α = 1 for the class that was seen and 0.01 more for all; log α with its noise's variance.
        alpha = F.one_hot(self.targets.long()).double() + 0.01
        variances = (1 / alpha + 1).log()
        return alpha.log() - variances / 2, variances


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class _Fit:
    """The regression of one layer: its name, targets, and whether other layers follow."""

    name: str
    targets: torch.Tensor
    variances: torch.Tensor
    examples: int
    seed: int
    inner: bool

    def set(self, layer: nn.Module, x: torch.Tensor) -> None:
        """Set the weight and bias of a layer from its input."""
        parts = distribution_of(layer, "weight")
        if parts is None or getattr(layer, "groups", 1) != 1:
            return
        gaussian, mean = parts
        rows = _rows(layer, x).double()  # (examples, places, fan_in)
        rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
        stream = Stream(self.seed, self.name, "regression")
        chosen = stream.subsets(len(mean), len(x), self.examples).astype("int64")
        for unit, picked in enumerate(torch.from_numpy(chosen)):
            solved, precision = self._solve(rows[picked], picked, unit)
            _write(mean[unit], solved[:-1])
            _write(gaussian.log_std[unit], -0.5 * precision[:-1].log())
            _write_bias(layer, unit, solved[-1], precision[-1])

    def _solve(
        self, rows: torch.Tensor, picked: torch.Tensor, unit: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The posterior mean of a unit's weights and bias, and the diagonal of the precision."""
        column = unit % self.targets.shape[1]
        target, variance = self.targets[picked, column], self.variances[picked, column]
        if self.inner:
            centre, spread = self.targets[:, column].mean(), self.targets[:, column].std()
            spread = spread.clamp_min(1e-12)
            target, variance = (target - centre) / spread, variance / spread**2
        places = rows.shape[1]
        flat = rows.flatten(0, 1)
        # The places of one example share its target: together they count as one.
        weight = (1 / (variance * places)).repeat_interleave(places)
        precision = (flat * weight[:, None]).T @ flat
        prior = flat.new_full((flat.shape[1],), float(flat.shape[1] - 1))
        prior[-1] = 1.0
        precision = precision + prior.diag()
        right = flat.T @ (weight * target.repeat_interleave(places))
        return torch.linalg.solve(precision, right), precision.diagonal()


def _rows(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The input of a unit of the layer: (examples, places, fan_in)."""
    if isinstance(layer, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1])
    assert isinstance(layer, nn.modules.conv._ConvNd)
    # A convolution with one kernel for each number of a patch copies the patches out.
    size = layer.in_channels * math.prod(layer.kernel_size)
    kernel = torch.eye(size, dtype=x.dtype, device=x.device)
    patches = layer._conv_forward(x, kernel.reshape(size, -1, *layer.kernel_size), None)
    return patches.flatten(2).transpose(1, 2)


def _write(target: torch.Tensor, values: torch.Tensor) -> None:
    target.copy_(values.reshape(target.shape))


def _write_bias(layer: nn.Module, unit: int, mean: torch.Tensor, precision: torch.Tensor) -> None:
    if (parts := distribution_of(layer, "bias")) is not None:
        _write(parts[1][unit], mean)
        _write(parts[0].log_std[unit], -0.5 * precision.log())
    elif layer.bias is not None:
        _write(cast("torch.Tensor", layer.bias)[unit], mean)


def _names(model: nn.Module) -> dict[int, str]:
    return {id(module): prefix[:-1] for prefix, module in named_modules(model)}
