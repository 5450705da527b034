"""Outputs of another size than planned: what the draw of few units makes is no news."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit._verifying.health.finders.expected import by_chance


@pytest.mark.parametrize("units", [1, 2, 4, 16, 64])
def test_chance_leaves_out_two_in_a_thousand(units):
    draws = torch.randn(100_000, units, generator=torch.Generator().manual_seed(units))
    sizes = draws.square().mean(1).sqrt()
    beyond = sum(not by_chance(size, units) for size in sizes.tolist()) / len(sizes)
    assert 3e-4 < beyond < 4e-3


@pytest.mark.parametrize("factor", [0.3, 0.5, 2.0, 3.0])
def test_of_many_units_a_factor_is_told(factor):
    assert not by_chance(factor, 64)


def test_one_output_may_start_near_zero():
    """Examples that are alike give one number, below half of its size in two draws of five."""
    batch = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) / 10 + 1
    near = 0
    for seed in range(12):
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        plan = isoinit.init(model, batch, seed=seed)
        health = isoinit.check(model, batch, plan=plan)
        near += health.layers[-1].rms < health.layers[-1].expected / 2
        assert "not as planned" not in {finding.name for finding in health.findings}
    assert near > 2
