"""Networks and their training, ours and the peers', which all data sets here share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss
from torch import nn

import isoinit
from isoinit import variational

SAMPLES = 32
Likelihood = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Setting:
    """How a network of distributions is made and trained."""

    scale: float = 0.1
    temperature: float = 0.1
    prior: float = 1.0
    relative: bool = False
    noise: variational.gaussian.Noise = "common"
    rate: float = 1e-3
    epochs: int = 60
    batch: int = 64

    def __str__(self) -> str:
        prior = f"{self.prior:g}{' of the plan' if self.relative else ''}"
        return (
            f"scale {self.scale:g}, temperature {self.temperature:g}, prior {prior}, "
            f"{self.noise} noise, step {self.rate:g}"
        )


def mlp(*sizes: int) -> nn.Sequential:
    """A ReLU network."""
    parts = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*[module for pair in parts for module in pair][:-1])


def batches(size: int, setting: Setting, seed: int) -> Iterator[torch.Tensor]:
    """The examples of each step, the same for all libraries."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(setting.epochs):
        yield from torch.randperm(size, generator=generator).split(setting.batch)


def ours(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    likelihood: Likelihood,
    setting: Setting,
    seed: int,
    extra: nn.Parameter | None = None,
) -> nn.Module:
    """Train a network of distributions; `extra` is one more parameter of the likelihood."""
    prior = variational.NormalPrior(setting.prior, relative=setting.relative)
    plan = isoinit.plan(model, x[:64])
    variational.convert(
        model, plan, scale=setting.scale, prior=prior, noise=setting.noise, seed=seed
    )
    torch.manual_seed(seed)
    more = [] if extra is None else [extra]
    optimizer = torch.optim.Adam([*model.parameters(), *more], setting.rate)
    for picked in batches(len(x), setting, seed):
        nll = likelihood(model(x[picked]), y[picked])
        loss = variational.elbo(nll, model, n_data=len(x), temperature=setting.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def plain(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    likelihood: Likelihood,
    setting: Setting,
    seed: int,
) -> nn.Module:
    """Train the same network with single weights, from the same plan."""
    isoinit.init(model, x[:64], seed)
    optimizer = torch.optim.Adam(model.parameters(), setting.rate)
    for picked in batches(len(x), setting, seed):
        loss = likelihood(model(x[picked]), y[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def bayesian_torch(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    likelihood: Likelihood,
    setting: Setting,
    seed: int,
    extra: nn.Parameter | None = None,
    kind: str = "Reparameterization",
) -> nn.Module:
    """Convert and train as bayesian-torch's README does: its priors, start, and weight of the KL."""
    torch.manual_seed(seed)
    options = {
        "prior_mu": 0.0,
        "prior_sigma": 1.0,
        "posterior_mu_init": 0.0,
        "posterior_rho_init": -3.0,
        "type": kind,
        "moped_enable": False,
        "moped_delta": 0.5,
    }
    dnn_to_bnn(model, options)
    more = [] if extra is None else [extra]
    optimizer = torch.optim.Adam([*model.parameters(), *more], setting.rate)
    for picked in batches(len(x), setting, seed):
        loss = likelihood(model(x[picked]), y[picked]) + get_kl_loss(model) / len(picked)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def forwards(model: nn.Module, x: torch.Tensor, samples: int = SAMPLES) -> torch.Tensor:
    """Outputs of a peer's network: (samples, examples, ...)."""
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(samples)])
