"""What leaves a network of distributions: plain modules, and distributions of torch's own.

`sample` and `freeze` give the model as it was before `convert`, with one draw of its weights or with
their means; `posterior` gives what was learned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from isoinit._reading.torch.names import named_modules
from isoinit._writing.parametrized import unparametrized
from isoinit._writing.seeds import resolve_seed
from isoinit.variational.gaussian import GaussianWeight, distribution_of, held_distributions
from isoinit.variational.loss import converted
from isoinit.variational.noise import Draws

Model = TypeVar("Model", bound=nn.Module)


def posterior(model: nn.Module) -> dict[str, torch.distributions.Normal]:
    """The distribution of every converted parameter, by the parameter's own name.

    The means and standard deviations are detached copies, so that training goes on without changing
    them. What reads `torch.distributions` (Pyro, for one) can sample and score them.

    Raises:
        ArgumentError: if the model has no distribution.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2))
        >>> variational.posterior(model)["weight"].stddev.shape
        torch.Size([2, 4])
    """
    return {
        gaussian.name: torch.distributions.Normal(
            mean.detach().clone(), gaussian.std().detach().clone()
        )
        for gaussian, mean in converted(model)
    }


def sample(model: Model, seed: int | None = None) -> Model:
    """A plain copy of the model with one draw of its weights: a member of the ensemble that it is.

    Args:
        model: left as it was.
        seed: of the draw; the same seed gives the same bits on any device. None takes one from torch's
            default generator.

    Raises:
        ArgumentError: if the model has no distribution, or the seed is not an integer.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2))
        >>> plain = variational.sample(model, seed=1)
        >>> type(plain).__name__, sorted(plain.state_dict())
        ('Linear', ['bias', 'weight'])
    """
    draws = converted(model)[0][0].draws
    with draws.fixed(torch.tensor(resolve_seed(seed) % 2**63, device="cpu")):
        drawn = {g.name: g.drawn(mean).detach() for g, mean in converted(model)}
    return _plain(model, lambda gaussian, _: drawn[gaussian.name].clone())


def freeze(model: Model) -> Model:
    """A plain copy of the model with the mean of every weight: one network, without uncertainty.

    Raises:
        ArgumentError: if the model has no distribution.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2))
        >>> variational.freeze(model)(torch.ones(1, 4)).shape
        torch.Size([1, 2])
    """
    converted(model)
    return _plain(model, lambda _, mean: mean.detach().clone())


def _plain(model: Model, value: Callable[[GaussianWeight, torch.Tensor], torch.Tensor]) -> Model:
    twin = copy.deepcopy(model)
    values: dict[str, nn.Parameter] = {}
    for _, module in list(named_modules(twin)):
        plain = {}
        for attribute in held_distributions(module):
            parts = distribution_of(module, attribute)
            assert parts is not None
            gaussian, mean = parts
            if gaussian.name not in values:  # shared parameters stay shared
                values[gaussian.name] = nn.Parameter(value(gaussian, mean), mean.requires_grad)
            plain[attribute] = values[gaussian.name]
        if plain:
            unparametrized(module, plain)
        _unhook(module)
    return twin


def _unhook(module: nn.Module) -> None:
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for key, hook in list(hooks.items()):
            if isinstance(getattr(hook, "__self__", None), Draws):
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)
