"""Turns the weights of a plain model into Gaussians that training learns, and counts their cost.

A weight becomes a draw μ + softplus(ρ)·ε with ε ~ N(0, 1), so that gradients reach μ and ρ through
the draw (Blundell et al. 2015, section 3.2). μ stays the layer's own parameter, moved to
`layer.parametrizations.weight.original`; ρ is `layer.parametrizations.weight[0].rho`.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Variational
from isoinit.plans import Plan
from isoinit.trace.names import named_parameters, unwrap
from isoinit.verbs import plan as make_plan

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)

Model = TypeVar("Model", bound=nn.Module)


class GaussianWeight(nn.Module):
    """A weight's distribution N(mean, σ²) with σ = softplus(ρ), under the prior N(0, prior_std²).

    A parametrization for `torch.nn.utils.parametrize`: every access of the layer's weight draws it
    anew from torch's default generator, in train and in eval mode.

    Args:
        mean: the layer's weight, whose shape, type, device and `requires_grad` ρ takes.
        spread: σ at the start, above 0, in the weight's own units.
        prior_std: the prior's standard deviation, in the same units. It is a buffer, so that a
            saved model keeps the prior that it was trained under.
    """

    rho: nn.Parameter
    prior_std: torch.Tensor

    def __init__(self, mean: torch.Tensor, spread: float, prior_std: float) -> None:
        super().__init__()
        # softplus⁻¹(σ) = log(e^σ - 1), in a form that neither overflows nor cancels.
        rho = spread + math.log(-math.expm1(-spread))
        self.rho = nn.Parameter(torch.full_like(mean, rho), requires_grad=mean.requires_grad)
        prior = torch.tensor(prior_std, dtype=_wide(mean), device=mean.device)
        self.register_buffer("prior_std", prior)

    def forward(self, mean: torch.Tensor) -> torch.Tensor:
        """One draw of the weight, differentiable in mean and ρ."""
        return mean + F.softplus(self.rho) * torch.randn_like(mean)

    def kl(self, mean: torch.Tensor) -> torch.Tensor:
        """KL(N(mean, σ²) ‖ N(0, prior_std²)) summed over the elements: a scalar, in nats.

        Computed in float32 at least: a sum of millions of terms has no digits left in bfloat16.
        """
        # E_q[log q - log p] with E_q[(w - μ)²] = σ² and E_q[w²] = σ² + μ²:
        # log(s/σ) + (σ² + μ²)/(2s²) - 1/2 (Blundell et al. 2015, eq. 1, in closed form).
        mean, sigma = mean.to(_wide(mean)), F.softplus(self.rho.to(_wide(self.rho)))
        ratio, shift = sigma / self.prior_std, mean / self.prior_std
        return ((ratio.square() + shift.square() - 1) / 2 - ratio.log()).sum()


def convert(
    model: Model,
    plan: Plan | None = None,
    *,
    scale: float = 0.1,
    prior_std: float = 1.0,
    seed: int | None = 0,
) -> Model:
    """Initialize a model and make its linear and convolutional weights learned Gaussians, in place.

    The plan is applied to all of the model. Each weight of an `nn.Linear` or of a convolution (1d
    to 3d, transposed too, and subclasses) then gets as its mean the planned draw divided by
    sqrt(1 + scale²), and as its spread the planned std times scale/sqrt(1 + scale²). A sampled
    weight so has the planned variance in all, and the sampled network keeps the planned signal at
    any depth and width; a constant spread, the habit elsewhere, drowns wide layers in noise.

    Every forward draws new weights from torch's default generator (`torch.manual_seed` governs),
    in eval mode too. A layer that is used twice in a forward is drawn twice; under
    `torch.nn.utils.parametrize.cached()` it is drawn once. Make the optimizer after converting, so
    that it sees the spreads, and wrap the model (DDP, FSDP) after converting.

    Args:
        model: a plain model on any device but meta; it is initialized, so earlier values are lost.
        plan: the plan of the plain model, best from an example: `isoinit.plan(model, batch)`. A
            weight planned as `Variational(base, scale)` is used so; any other initializer that
            draws becomes the base of one. None plans from the modules alone, which is a guess.
        scale: spread over mean, above 0, where the plan says nothing. At 0.1 one percent of a
            weight's variance is noise: enough for the spreads to learn, and the network starts
            about as good as a plain one.
        prior_std: the prior's standard deviation, above 0, in units of the weights. 1 is wide for
            most layers: it hardly holds the means, and widens the spreads until the data resist.
        seed: of the means, as for `Plan.apply`: the same seed gives the same bits.

    Returns:
        The model.

    Raises:
        ArgumentError: for a `scale` or `prior_std` out of range; a model without such layers; a
            weight that is shared, already converted, or computed from other parameters; or a model
            already wrapped in DDP or FSDP.
        PlanError: if the plan does not fit the model, or plans such a weight as a constant or not
            at all. Nothing was changed in either case.

    Source: Blundell et al. 2015, section 3.2; the initial spread is derived in
        `isoinit.initializers.variational`.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> layer = variational.convert(torch.nn.Linear(4, 2), seed=0)
        >>> bool((layer.weight == layer.weight).all())  # two draws
        False
        >>> sorted(name for name, _ in layer.named_parameters())
        ['bias', 'parametrizations.weight.0.rho', 'parametrizations.weight.original']
    """
    _require_positive("prior_std", prior_std)
    _require_positive("scale", scale)
    layers = _convertible(model)
    plan = make_plan(model) if plan is None else plan
    if not isinstance(plan, Plan):
        raise ArgumentError(f"plan is a {type(plan).__name__}; expected an isoinit.Plan or None")
    starts = {name: _start(plan, name, scale) for name in layers}
    plan.apply(model, seed)
    for name, layer in layers.items():
        shrink, spread = starts[name]
        mean = cast("nn.Parameter", layer._parameters["weight"])
        with torch.no_grad():
            mean.mul_(shrink)
        gaussian = GaussianWeight(mean, spread, prior_std)
        # unsafe=True skips torch's trial call, which would draw from the default generator.
        parametrize.register_parametrization(layer, "weight", gaussian, unsafe=True)
    return model


def kl(model: nn.Module) -> torch.Tensor:
    """The divergence of all converted weights from their prior, to be added to the loss.

    The sum over weights of KL(N(mean, σ²) ‖ N(0, prior_std²)), in closed form and without a forward
    pass. For a loss that is the *mean* over examples add `temperature * kl(model) / n`, with n the
    number of training examples (not of the batch). Temperature 1 is Bayes' rule, yet with a small
    data set the many weights can outweigh the few examples, so that the network underfits; 0.1 or
    less is common there, at the price of spreads below those of Bayes' rule (Wenzel et al. 2020).

    Returns:
        A scalar in nats, differentiable, float32 or wider, on the device of the first such weight.

    Raises:
        ArgumentError: if no weight is converted.

    Source: Blundell et al. 2015, eq. 1 and section 3.4, with the Gaussian case in closed form.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> layer = variational.convert(torch.nn.Linear(4, 2), prior_std=0.1)
        >>> variational.kl(layer).shape, bool(variational.kl(layer) > 0)
        (torch.Size([]), True)
    """
    weights = [cast("ParametrizationList", _parametrization(layer)) for layer in converted(model)]
    terms = [cast("GaussianWeight", weight[0]).kl(weight.original) for weight in weights]
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def converted(model: nn.Module) -> list[nn.Module]:
    """The layers whose weight is a distribution, in the order of the model.

    Raises:
        ArgumentError: if there are none.
    """
    layers = [layer for layer in model.modules() if _is_converted(layer)]
    if not layers:
        raise ArgumentError(
            f"{type(model).__name__} has no weight that is a distribution; call "
            "isoinit.variational.convert(model) first"
        )
    return layers


def _convertible(model: nn.Module) -> dict[str, nn.Module]:
    """The layers to convert, by the name of their weight; refuses what cannot be converted."""
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    _refuse_distributed(model)
    parameters, aliases = named_parameters(model)
    names = {id(parameter): name for name, parameter in parameters.items()}
    layers: dict[str, nn.Module] = {}
    for path, layer in unwrap(model).named_modules():
        if isinstance(layer, LAYERS):
            weight = layer._parameters.get("weight")
            name = names.get(id(weight), f"{path}.weight".removeprefix("."))
            others = [alias for alias, first in aliases.items() if first == name]
            if fault := _fault(layer, others):
                raise ArgumentError(f"nothing was changed: {name!r} {fault}")
            layers[name] = layer
    if not layers:
        raise ArgumentError(
            f"{type(model).__name__} has no nn.Linear and no convolution, whose weights are what "
            "can become distributions"
        )
    return layers


def _fault(layer: nn.Module, others: list[str]) -> str:
    if _is_converted(layer):
        return "is a distribution already: convert a model once"
    if (parts := _parametrization(layer)) is not None:
        kinds = ", ".join(type(part).__name__ for part in parts)
        return (
            f"is computed by a parametrization ({kinds}): remove it first, with "
            "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
        )
    if layer._parameters.get("weight") is None:
        return (
            "is no parameter of its layer, but computed from others (by weight norm or pruning, "
            "say): undo that first"
        )
    if others:
        return (
            f"is shared with {', '.join(map(repr, others))}, and shared weights cannot become "
            "distributions yet: give each layer a weight of its own"
        )
    return ""


def _refuse_distributed(model: nn.Module) -> None:
    """Their wrappers list the parameters once, at the start: ρ would never be synchronized."""
    for module in model.modules():
        for cls in type(module).__mro__:
            if cls.__name__ in ("DistributedDataParallel", "FullyShardedDataParallel"):
                raise ArgumentError(
                    f"the model is wrapped in {cls.__name__} already, which would not synchronize "
                    "the new parameters; convert first, then wrap"
                )


def _start(plan: Plan, name: str, scale: float) -> tuple[float, float]:
    """What the drawn weight is multiplied by to make the mean, and the first σ."""
    if name not in plan:
        raise PlanError(
            f"nothing was changed: the plan has no entry for {name!r}; make the plan from this "
            "model"
        )
    entry = plan[name]
    planned = entry.initializer
    if planned is None or planned.is_constant:
        found = "left as it was" if planned is None else f"filled with {planned}"
        raise PlanError(
            f"nothing was changed: {name!r} is to be {found}, which gives no scale for its spread; "
            f"set plan[{name!r}] to an initializer that draws, such as isoinit.HeNormal()"
        )
    if not isinstance(planned, Variational):
        planned = Variational(base=planned, scale=scale)
    spread = planned.spread_for(entry.layout)
    if not 0 < spread < math.inf:
        raise PlanError(
            f"nothing was changed: {planned} gives {name!r} a spread of {spread:g}; expected a "
            "finite one above 0, so give it an initializer whose values vary"
        )
    return planned.shrink, spread


def _require_positive(name: str, value: float) -> None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (known and 0 < value < math.inf):
        raise ArgumentError(f"convert({name}={value!r}): expected a finite number above 0")


def _is_converted(layer: nn.Module) -> bool:
    parts = _parametrization(layer)
    return parts is not None and isinstance(parts[0], GaussianWeight)


def _parametrization(layer: nn.Module) -> ParametrizationList | None:
    # Read from _modules: the attributes of a compiled layer's wrapper are those of the layer.
    held = layer._modules.get("parametrizations")
    parts = held._modules.get("weight") if isinstance(held, nn.ModuleDict) else None
    return parts if isinstance(parts, ParametrizationList) else None


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
