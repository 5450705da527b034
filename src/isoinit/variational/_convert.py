"""Turns the parameters of a plain model into Gaussians that training learns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import torch
from torch import nn

from isoinit._planning.plan import Plan
from isoinit._planning.selected import (
    Chosen,
    choose_parameters,
    choose_values,
    refuse_wrapped,
    require_plan,
    roles_of,
)
from isoinit._planning.verbs import plan as make_plan
from isoinit._reading.torch.names import named_modules, named_parameters, require_parameters, unwrap
from isoinit._system.alone import alone
from isoinit._writing.parametrized import Holder, holders_of, parametrization_fault, parametrized
from isoinit._writing.refusals import refuse_mismatch, refuse_unready
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError
from isoinit.variational.gaussian import GaussianWeight, Noise, held_distributions
from isoinit.variational.layers import EXACT, follow_noise
from isoinit.variational.noise import Draws
from isoinit.variational.priors import START, NormalPrior, PriorLike, build_prior, require_number
from isoinit.variational.starts import Begin, Regression, Trained, begin_at, planned_spread

Model = TypeVar("Model", bound=nn.Module)


def convert(
    model: Model,
    plan: Plan | None = None,
    *,
    start: Trained | Regression | None = None,
    scale: float = 0.1,
    prior: PriorLike | Mapping[str, PriorLike] | None = None,
    noise: Noise = "common",
    parameters: Chosen = "weights",
    seed: int | None = None,
    inplace: bool = True,
) -> Model:
    """Initialize a model and turn its weights into distributions that are trained.

    The plan is applied to the whole model. Each chosen parameter then gets a Gaussian for every
    element. For a weight with planned standard deviation s, the mean is the planned draw divided by
    sqrt(1 + scale²), and the std is scale·s/sqrt(1 + scale²). So a sampled weight has the planned
    variance, and the sampled network keeps the planned signal at any depth and width. A constant std,
    which other libraries use, makes the noise of wide layers too large.

    Any parameter of any module can be chosen. A shared parameter is converted once and stays shared.
    The layers keep their attributes, dtypes and devices. The parameter `p` of a layer moves to
    `layer.parametrizations.p`, and reading `layer.p` draws it.

    One forward pass of the model uses one draw of all weights, in train and in eval mode. A layer that
    is called alone draws at each call. The draw comes from torch's default generator, so
    `torch.manual_seed` makes it repeatable. Make the optimizer after converting, so that it gets
    the standard deviations, and wrap the model (DDP, FSDP2, compile) after converting.

    Args:
        model: a plain model on any device but meta. It is initialized, so that earlier values are
            lost, unless `start` keeps them.
        plan: the plan of the plain model, best from an example: `isoinit.plan(model, batch)`. A weight
            planned as `Variational(base, scale)` is used so. None plans without an example.
        start: None for the plan; `Trained()` for the values that the model has; `Regression(x, y)` for
            what each layer learns from data.
        scale: std over mean, above 0, where the plan says nothing. At 0.1 one percent of a weight's
            variance is noise: the network starts about as good as a plain one, and ends well
            calibrated. 0.5 to 1 makes it more unsure on inputs unlike the training data.
        prior: what holds the distributions: a standard deviation for a normal around zero, a
            `NormalPrior`, a `ScaleMixture` or one of `torch.distributions`; or a mapping to these from
            names, globs and roles as in `Plan.override`, of which a name or else the first that
            matches decides, and which must match every chosen parameter. By default a normal of
            standard deviation 1, around zero, or around the trained values for `Trained()`. That is
            wide for most layers: it hardly holds the means, and widens the distributions until the
            data resist.
        noise: "common" for one draw a batch; "local" (the local reparameterization trick) or "flipout"
            for noise of each example's own in linear and convolutional layers, which makes gradients
            less noisy and costs a second product. All other parameters have common noise.
        parameters: "weights" for every weight matrix, kernel and table; "all" for biases and norm
            layers too; a name or glob, or several; or a function of name and parameter.
        seed: of the means: the same seed gives the same bits; None draws one, as for `Plan.apply`.
        inplace: whether to convert this model, or a copy of it.

    Returns:
        The model, or its copy.

    Raises:
        ArgumentError: for an argument out of range; a chosen parameter that is frozen, integer,
            computed from others, or a distribution already; a prior that does not fit a parameter; a
            model already wrapped in DDP or FSDP.
        UnknownParameterError: for a pattern that matches nothing.
        PlanError: if the plan does not fit the model. Nothing was changed in any case.

    Source: Blundell et al. 2015, section 3.2; the initial std is derived in
        `isoinit.initializers.variational`.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> layer = variational.convert(torch.nn.Linear(4, 2), seed=0)
        >>> bool((layer.weight == layer.weight).all())  # two draws
        False
        >>> sorted(name for name, _ in layer.named_parameters())
        ['bias', 'parametrizations.weight.0.log_std', 'parametrizations.weight.original']
    """
    require_number("convert", "scale", scale, above=0)
    _require_kinds(plan, start, noise)
    with alone():
        known, aliases = require_parameters(model, "convert")
        refuse_wrapped(model)
        _refuse_converted(model)
        plan = make_plan(model) if plan is None else plan
        chosen = choose_parameters(parameters, known, aliases, plan)
        holders = _holders(model, known, chosen)
        refuse_unready(known, now=True)
        refuse_mismatch(plan.entries, known)
        calls = start.read(model) if isinstance(start, Regression) else {}
        seed = resolve_seed(seed)
        begins = {name: begin_at(plan, name, scale, start, known[name]) for name in chosen}
        if prior is None:
            prior = NormalPrior(1.0, START if isinstance(start, Trained) else 0.0)
        wanted = _priors(prior, roles_of(chosen, plan), aliases)
        for name in chosen:  # a rehearsal: a prior that does not fit is found before any write
            build_prior(wanted[name], known[name], planned_spread(plan, name), name)
        if not inplace:
            model = copy.deepcopy(model)
            known, _ = named_parameters(model)
            holders = _holders(model, known, chosen)
        if not isinstance(start, Trained):
            plan.apply(model, seed)
        draws = _hook_root(model)
        for name in chosen:
            mean = known[name]
            log_std = _start(mean, begins[name])
            built = build_prior(wanted[name], mean, planned_spread(plan, name), name)
            own = noise if _is_fast(holders[name]) else "common"
            row = plan[name].layout.padding
            gaussian = GaussianWeight(log_std, built, name, draws, own, row)
            _register(holders[name], gaussian)
        _hook_layers(model, draws)
        if isinstance(start, Regression):
            start.regress(model, calls, seed)
        return model


def _is_fast(holders: list[Holder]) -> bool:
    """Whether noise of each example's own can be made: for an exact layer's own weight."""
    return len(holders) == 1 and _is_exact(holders[0])


def _is_exact(holder: Holder) -> bool:
    return type(holder.module) in EXACT and holder.attribute == "weight"


def _start(mean: nn.Parameter, begin: Begin) -> nn.Parameter:
    """Shrink the mean in place, and return the logarithm of the initial std."""
    with torch.no_grad():
        mean.mul_(begin.shrink)
    log_std = begin.std(mean.detach()).log().to(mean)  # its type, and its device
    return nn.Parameter(log_std.expand_as(mean).contiguous())


def _register(holders: list[Holder], gaussian: GaussianWeight) -> None:
    for holder in holders:
        exact = _is_exact(holder)  # asked first: the layer's class becomes its own
        parametrized(holder.module, holder.attribute, gaussian)
        if exact:
            follow_noise(holder.module)


def _hook_root(model: nn.Module) -> Draws:
    draws, root = Draws(), unwrap(model)
    root.register_forward_pre_hook(draws.begin)
    root.register_forward_hook(draws.end, always_call=True)
    return draws


def _hook_layers(model: nn.Module, draws: Draws) -> None:
    for _, module in named_modules(model):
        hooked = any(h == draws.enter for h in module._forward_pre_hooks.values())
        if held_distributions(module) and not hooked:
            module.register_forward_pre_hook(draws.enter)
            module.register_forward_hook(draws.leave, always_call=True)


def _require_kinds(plan: Any, start: Any, noise: Any) -> None:
    require_plan(plan)
    if start is not None and not isinstance(start, (Trained, Regression)):
        raise ArgumentError(f"start={start!r}: expected None, Trained() or Regression(x, y)")
    if noise not in get_args(Noise):
        kinds = ", ".join(map(repr, get_args(Noise)))
        raise ArgumentError(f"convert(noise={noise!r}): expected one of {kinds}")


def _refuse_converted(model: nn.Module) -> None:
    for prefix, module in named_modules(model):
        for attribute in held_distributions(module):
            raise ArgumentError(
                f"nothing was changed: {prefix + attribute!r} is a distribution already. Convert "
                "a model only once, with all parameters together"
            )


def _priors(
    prior: PriorLike | Mapping[str, PriorLike],
    chosen: Mapping[str, str],
    aliases: Mapping[str, str],
) -> dict[str, PriorLike]:
    """The prior of every chosen parameter."""
    if not isinstance(prior, Mapping):
        return dict.fromkeys(chosen, prior)
    return choose_values(prior, chosen, aliases, "priors", '"*" for all others')


def _holders(
    model: nn.Module, known: Mapping[str, nn.Parameter], chosen: list[str]
) -> dict[str, list[Holder]]:
    """The modules that hold each chosen parameter; refuses what cannot be a distribution."""
    held = holders_of(model, chosen)
    faults = {name: _fault(known[name], held[name]) for name in chosen}
    for name, fault in faults.items():
        if fault:
            raise ArgumentError(f"nothing was changed: {name!r} {fault}")
    return held


def _fault(parameter: nn.Parameter, holders: list[Holder]) -> str:
    if fault := parametrization_fault(holders):
        return f"{fault}. Or exclude the parameter with parameters="
    leave = "or exclude the parameter with parameters=lambda name, p: p.requires_grad"
    if not parameter.is_floating_point():
        kind = str(parameter.dtype).removeprefix("torch.")
        return (
            f"is of type {kind}, which cannot hold a Gaussian. Convert the model before "
            f"quantizing, {leave}"
        )
    if not parameter.requires_grad and not isinstance(parameter, nn.UninitializedParameter):
        return f"is frozen, so its std could not be trained. Unfreeze it, {leave}"
    return ""
