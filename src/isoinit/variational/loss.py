"""What a network of distributions is trained on: the data's cost plus that of leaving the prior."""

from __future__ import annotations

import torch
from torch import nn

from isoinit.errors import ArgumentError
from isoinit.variational.gaussian import GaussianWeight, distributions
from isoinit.variational.priors import require_number

AT_PRIOR = 0.05
"""Nats a weight below which a unit says nothing: a std of 0.78 of the prior's, and no mean."""


def kl(model: nn.Module) -> torch.Tensor:
    """The divergence of all distributions from their priors.

    The sum over elements of KL(N(mean, std²) ‖ prior), without a forward pass: in closed form where
    torch has one, for other priors (a scale mixture) estimated from draws.

    Returns:
        A scalar in nats, differentiable, float32 or wider, on the device of the first distribution.
        Of sharded parameters it is the sum over all shards.

    Raises:
        ArgumentError: if the model has no distribution.

    Source: Blundell et al. 2015, eq. 1 and section 3.4, with the Gaussian case in closed form.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> layer = variational.convert(torch.nn.Linear(4, 2), prior=0.1)
        >>> variational.kl(layer).shape, bool(variational.kl(layer) > 0)
        (torch.Size([]), True)
    """
    terms = [_whole(gaussian.kl(mean).sum()) for gaussian, mean in converted(model)]
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def elbo(
    nll: torch.Tensor,
    model: nn.Module,
    *,
    n_data: int,
    temperature: float = 0.1,
    step: int | None = None,
    warmup_steps: int = 0,
) -> torch.Tensor:
    """The loss to minimize: the negative evidence lower bound for one example.

    nll + temperature · warm-up · KL / n_data, in nats. Temperature 1 is Bayes' rule. With a few
    thousand examples the many weights then outweigh the data, and the network underfits or falls
    back to its prior; at 0.1 it fits, with distributions narrower than by Bayes' rule (Wenzel et
    al. 2020).

    Args:
        nll: the negative log-likelihood of a batch, the *mean* over its examples, such as
            `cross_entropy(model(x), y)`.
        model: the model that `convert` has converted, wrapped or not.
        n_data: how many examples the training set has (not the batch).
        temperature: the weight of the divergence, at least 0.
        step: the number of the step, counted from 0; only needed for a warm-up.
        warmup_steps: over how many steps the divergence's weight grows from 0 to whole, so that the
            data come first (Sønderby et al. 2016).

    Raises:
        ArgumentError: for a value out of range, an nll that is no single number, or a model without
            distributions.

    Source: Blundell et al. 2015, eq. 8, with the weight of a batch that of its share of the data.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2))
        >>> x, y = torch.ones(8, 4), torch.zeros(8, dtype=torch.long)
        >>> nll = torch.nn.functional.cross_entropy(model(x), y)
        >>> loss = variational.elbo(nll, model, n_data=1000, temperature=0.1)
        >>> bool(torch.isclose(loss, nll + 0.1 * variational.kl(model) / 1000))
        True
    """
    if not isinstance(nll, torch.Tensor) or nll.numel() != 1:
        found = tuple(nll.shape) if isinstance(nll, torch.Tensor) else type(nll).__name__
        raise ArgumentError(
            f"elbo(nll=...) is {found}; expected one number, the mean over the batch's examples"
        )
    require_number("elbo", "temperature", temperature, above=-1e-300, hint=", at least 0")
    for name, value, least in (("n_data", n_data, 1), ("warmup_steps", warmup_steps, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ArgumentError(f"elbo({name}={value!r}): expected an integer of {least} or more")
    if warmup_steps and (step is None or step < 0):
        raise ArgumentError(
            f"elbo(step={step!r}, warmup_steps={warmup_steps}): expected the index of the step, "
            "counted from 0"
        )
    weight = temperature
    if warmup_steps and step is not None:
        weight *= min(1.0, step / warmup_steps)
    return nll + (weight / n_data) * kl(model)


def at_prior(model: nn.Module) -> dict[str, float]:
    """The share of units that have fallen back to the prior, by parameter.

    A unit (a row of a weight) counts if it is within 0.05 nats a weight of its prior: it then draws
    as if it had seen no data. Many such units mean that the divergence outweighs the data: lower the
    temperature, warm it up, or widen the prior. A few are no fault; training so tells that it can do
    without them.

    Raises:
        ArgumentError: if the model has no distribution.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2), scale=1.0, prior=0.5)
        >>> variational.at_prior(model).keys()
        dict_keys(['weight'])
    """
    shares = {}
    with torch.no_grad():
        for gaussian, mean in converted(model):
            divergence = _whole(gaussian.kl(mean))
            units = (
                divergence.reshape(len(divergence), -1)
                if divergence.ndim
                else divergence[None, None]
            )
            shares[gaussian.name] = (units.mean(1) < AT_PRIOR).float().mean().item()
    return shares


def converted(model: nn.Module) -> list[tuple[GaussianWeight, torch.Tensor]]:
    """All distributions of a model with their means, in the order of the model.

    Raises:
        ArgumentError: if there are none.
    """
    found = list(distributions(model))
    if not found:
        raise ArgumentError(
            f"{type(model).__name__} has no variational weight. Call "
            "isoinit.variational.convert(model) first"
        )
    return found


def _whole(value: torch.Tensor) -> torch.Tensor:
    """A sharded value gathered; others as they are."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value
