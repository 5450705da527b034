"""What is known to be wrong with independent Gaussians, and stays so until the family is changed."""

import torch
from torch import nn

import isoinit
from isoinit.variational import convert, elbo, predict


def test_a_mean_field_posterior_is_overconfident_between_clusters():
    """Foong et al. 2019: as sure between two clusters of data as within them; unsure beyond both.

    Over eight seeds the spread between is 0.16 to 0.28 of that within, and beyond 3.4 to 18 times it.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.rand(50, 1, generator=generator) * 0.3 + side for side in (-1.15, 0.85)])
    y = torch.sin(2 * x) + 0.1 * torch.randn(100, 1, generator=generator)
    model = nn.Sequential(nn.Linear(1, 50), nn.ReLU(), nn.Linear(50, 1))
    convert(model, isoinit.plan(model, x), noise="local", seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(800):
        nll = (model(x) - y).square().mean() / (2 * 0.1**2)
        optimizer.zero_grad()
        elbo(nll, model, n_data=100, temperature=1.0).backward()
        optimizer.step()
    places = torch.tensor([[0.0], [1.0], [2.5]])
    between, within, beyond = predict(model, places, 400, seed=0).epistemic.sqrt()[:, 0].tolist()
    assert between < within
    assert beyond > 2 * within
