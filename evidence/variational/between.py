"""A known limit: between two clusters of data a mean-field posterior is too sure (Foong et al. 2019).

    python -m evidence.variational between

Two clusters of inputs on a line, one hidden layer of 50 ReLU units. The reference is the exact
posterior of the same Bayesian network of infinite width: a Gaussian process with the arc-cosine
kernel of degree 1 (Cho & Saul 2009). Trained at temperature 1, to be compared with it.
"""

from __future__ import annotations

import math

import torch
from evidence.variational.networks import Setting, mlp, ours
from torch import nn

from isoinit import variational

NOISE = 0.1
PLACES = {"between the clusters": 0.0, "in a cluster": 1.0, "beyond them": 2.5}
SETTING = Setting(temperature=1.0, rate=1e-2, epochs=2000, batch=100, noise="local")


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Two clusters around -1 and 1, each 0.3 wide."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.rand(50, generator=generator) * 0.3 + side for side in (-1.15, 0.85)])
    y = torch.sin(2 * x) + NOISE * torch.randn(100, generator=generator)
    return x[:, None], y[:, None]


def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of a ReLU network of infinite width with He's weights, and biases of variance 1."""
    a, b = (torch.cat([x, torch.ones_like(x)], 1) for x in (a.double(), b.double()))
    lengths = a.norm(dim=1)[:, None] * b.norm(dim=1)
    angle = (a @ b.T / lengths).clamp(-1, 1).acos()
    return lengths * (angle.sin() + (math.pi - angle) * angle.cos()) / math.pi


def exact(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The standard deviation of the exact posterior at the places, without noise."""
    inner = kernel(x, x) + NOISE**2 * torch.eye(len(x)).double()
    across = kernel(places, x)
    covariance = kernel(places, places) - across @ torch.linalg.solve(inner, across.T)
    return covariance.diagonal().clamp_min(0).sqrt()


def report() -> list[str]:
    """The page's part."""
    x, y = data()
    places = torch.tensor(list(PLACES.values()))[:, None]

    def likelihood(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(output, target) / (2 * NOISE**2)

    model = ours(mlp(1, 50, 1), x, y, likelihood, SETTING, seed=0)
    found = variational.predict(model, places, 1000, seed=0).epistemic.sqrt()[:, 0]
    wanted = exact(x, places)
    rows = [
        f"| {name} | {one:.2f} | {other:.2f} |"
        for name, one, other in zip(PLACES, found.tolist(), wanted.tolist(), strict=True)
    ]
    print(*rows, sep="\n", flush=True)
    return [
        "## A known limit: between clusters",
        "",
        "A network with one hidden layer is trained on two clusters of inputs. The table has the",
        "standard deviation of its prediction, without the noise of the data, and that of the exact",
        "posterior of this network at infinite width. Independent weights can't express that the",
        "inputs between two clusters are unknown (Foong et al. 2019). The network is as sure there as",
        "in a cluster. Its uncertainty is reliable only far from all data.",
        "",
        "| input | isoinit | exact |",
        "|---|---:|---:|",
        *rows,
        "",
    ]
