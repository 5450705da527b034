"""Noise of each example's own, against its closed form.

Seeds are fixed; every bound is one that a correct implementation passes under all but one seed in
10**5 (4.9 standard errors for each of the few numbers compared).
"""

import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit.variational import convert

CASES = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "linear, sequence": (lambda: nn.Linear(6, 5, bias=False), (3, 4, 6)),
    "linear, one example": (lambda: nn.Linear(6, 5), (6,)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2, stride=2, padding=1), (3, 4, 7)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (3, 3, 4, 4)),
    "conv2d, one example": (lambda: nn.Conv2d(3, 4, 3), (3, 4, 4)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, dilation=2), (2, 2, 4, 4, 4)),
}
DRAWS, COPIES = 1200, 40


def moments(layer, x):
    """Of the output: mean and variance, worked out from those of the weights."""
    parts = layer.parametrizations.weight
    plain = type(layer).__bases__[0]

    def product(x, weight):
        if plain is nn.Linear:
            return nn.functional.linear(x, weight)
        return layer._conv_forward(x, weight, None)

    mean = product(x, parts.original)
    variance = product(x.square(), parts[0].std().square())
    if layer.bias is not None:
        shape = (-1, *[1] * (parts.original.ndim - 2)) if plain is not nn.Linear else (-1,)
        mean = mean + layer.bias.reshape(shape)
    return mean, variance


def drawn(layer, x, copies):
    """Outputs under different noise: of several calls, and of equal examples in each.

    Only local noise is each example's own; the others share what makes variances vary together.
    """
    if copies == 1:
        return torch.stack([layer(x) for _ in range(DRAWS)])
    batch = x.repeat(copies, *[1] * (x.ndim - 1))
    return torch.cat([layer(batch).unflatten(0, (copies, -1)) for _ in range(DRAWS // copies)])


@pytest.mark.parametrize("noise", ["common", "local", "flipout"])
@pytest.mark.parametrize("case", CASES)
def test_moments_of_the_output(case, noise):
    make, shape = CASES[case]
    layer = make().double()
    convert(layer, isoinit.plan(layer), noise=noise, scale=0.8, seed=0)
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        mean, variance = moments(layer, x)
        draws = drawn(layer, x, COPIES if noise == "local" and "one example" not in case else 1)
    assert draws.shape == (DRAWS, *mean.shape)
    assert ((draws.mean(0) - mean).abs() < 4.9 * (variance / DRAWS).sqrt()).all()
    error = variance * math.sqrt(2 / DRAWS)
    assert ((draws.var(0) - variance).abs() < 4.9 * error).all()


@pytest.mark.parametrize(("noise", "shared"), [("common", 1), ("local", 0), ("flipout", 0)])
@pytest.mark.parametrize("case", ["linear", "conv2d"])
def test_examples_share_their_noise_only_if_it_is_common(case, noise, shared):
    """The correlation of two equal examples' outputs; its error is 1/sqrt(draws·units) at most."""
    make, shape = CASES[case]
    layer = make()
    convert(layer, isoinit.plan(layer), noise=noise, scale=0.8, seed=0)
    x = torch.randn(shape[1:]).expand(2, *shape[1:])
    with torch.no_grad():
        mean, _ = moments(layer, x)
        draws = torch.stack([layer(x) - mean for _ in range(1000)])
    one, other = draws[:, 0].flatten(), draws[:, 1].flatten()
    correlation = (one @ other / one.norm() / other.norm()).item()
    assert correlation == pytest.approx(shared, abs=4.9 / math.sqrt(1000))


def test_flipout_keeps_a_sequences_weights_the_same():
    """Two equal steps of one sequence give one output: the weights do not change in between."""
    layer = convert(nn.Linear(4, 3), noise="flipout", scale=0.8, seed=0)
    y = layer(torch.randn(2, 1, 4).expand(2, 5, 4))
    torch.testing.assert_close(y[:, 0], y[:, 4])
    assert not torch.allclose(y[0], y[1])


def test_an_input_of_zero_has_finite_gradients():
    layer = convert(nn.Linear(4, 3), noise="local", seed=0)
    layer(torch.zeros(2, 4)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("noise", ["common", "local", "flipout"])
def test_autocast(noise, dtype):
    """Spreads of 0.003, whose squares float16 cannot hold, stay what they are: within 10 %."""
    layer = nn.Linear(256, 64)
    plan = isoinit.plan(layer, torch.zeros(1, 256))
    convert(layer, plan, noise=noise, scale=0.05, seed=0)
    x = torch.randn(16, 256)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        draws = torch.stack([layer(x) for _ in range(20)])
    assert draws.dtype == dtype
    std = draws.double().var(0).mean().sqrt().item()
    assert std == pytest.approx(0.05, rel=0.1)
    with torch.autocast("cpu", dtype):
        layer(x).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("noise", ["local", "flipout"])
def test_gradients_are_less_noisy_than_under_common_noise(noise):
    """At a batch of 64 the mean's gradient varies by less than a fourth (about 1/64 and 2/64)."""

    def variance(noise):
        layer = convert(nn.Linear(16, 16), noise=noise, scale=1.0, seed=0)
        x, target = torch.randn(64, 16), torch.randn(64, 16)
        found = []
        for _ in range(200):
            layer.zero_grad()
            ((layer(x) - target) ** 2).sum().backward()
            found.append(layer.parametrizations.weight.original.grad.clone())
        return torch.stack(found).var(0).mean().item()

    torch.manual_seed(0)
    common = variance("common")
    torch.manual_seed(0)
    assert variance(noise) < common / 4


def test_layers_of_other_kinds_keep_common_noise():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), Own(4, 4), nn.ConvTranspose1d(4, 4, 1))
    convert(model, noise="local", seed=0)
    kinds = [layer.parametrizations.weight[0].noise for layer in model]
    assert kinds == ["local", "common", "common"]
