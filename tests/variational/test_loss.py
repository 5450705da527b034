"""The divergence and the loss, against sums written out, torch's divergences and draws.

Seeds are fixed, so a check always passes or always fails; each states how rarely a correct
implementation fails under another seed.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from isoinit.errors import ArgumentError
from isoinit.variational import at_prior, convert, elbo, kl, posterior


def mlp(*sizes, dtype=None):
    pairs = [(nn.Linear(a, b, dtype=dtype), nn.ReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*[m for pair in pairs for m in pair][:-1])


def test_the_divergence_is_a_sum_over_all_weights():
    """Not the mean of a tensor, which peers have: 10.1 in place of 24,327 nats on 64-128-10."""
    model = convert(mlp(64, 128, 10), seed=0)
    prior = Normal(0.0, 1.0)
    expected = sum(kl_divergence(q, prior).sum() for q in posterior(model).values())
    torch.testing.assert_close(kl(model).detach(), expected)
    assert kl(model) > 64 * 128  # more than a nat a weight


def test_it_is_the_mean_log_ratio_of_draws():
    """4.9 standard errors: one seed in 10**6."""
    model = convert(mlp(8, 8, 8), scale=0.5, prior=0.4, seed=0)
    ratios = torch.zeros(4000, dtype=torch.float64)
    for q in posterior(model).values():
        draws = q.sample((len(ratios),))
        ratios += (q.log_prob(draws) - Normal(0.0, 0.4).log_prob(draws)).double().sum((1, 2))
    error = ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - kl(model)) < 4.9 * error
    assert error < 0.01 * kl(model)


def test_it_is_zero_at_the_prior_and_pulls_toward_it():
    layer = convert(nn.Linear(3, 2), prior=0.7, seed=0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        kl(layer).backward()
        optimizer.step()
    q = posterior(layer)["weight"]
    torch.testing.assert_close(q.stddev, torch.full((2, 3), 0.7), atol=1e-3, rtol=0)
    torch.testing.assert_close(q.mean, torch.zeros(2, 3), atol=1e-3, rtol=0)
    assert 0 <= kl(layer) < 1e-4
    assert at_prior(layer) == {"weight": 1.0}


def test_a_compiled_layer_counts_its_weight_once():
    layer = convert(nn.Linear(3, 2), seed=0)
    assert kl(torch.compile(layer)) == kl(layer)


def test_half_precision_keeps_its_digits():
    """A hundred thousand equal terms, each right to bfloat16's rounding of spread and mean."""
    half, full = (
        kl(convert(mlp(320, 320, dtype=t), seed=0)) for t in (torch.bfloat16, torch.float64)
    )
    assert half.dtype == torch.float32
    assert abs(half / full - 1) < 0.01


def test_it_needs_no_forward_and_leaves_the_generator():
    model = convert(mlp(4, 4), seed=0)
    before = torch.get_rng_state()
    kl(model).backward()
    assert torch.equal(before, torch.get_rng_state())


def test_the_loss_weighs_the_divergence():
    model, nll = convert(mlp(4, 4), seed=0), torch.tensor(1.5)
    whole = kl(model)
    for temperature in (0.0, 0.1, 1.0):
        loss = elbo(nll, model, n_data=50, temperature=temperature)
        torch.testing.assert_close(loss, nll + temperature * whole / 50)


def test_the_divergence_is_warmed_up():
    model, nll = convert(mlp(4, 4), seed=0), torch.tensor(1.5)
    for step, share in ((0, 0), (5, 0.5), (10, 1), (25, 1)):
        loss = elbo(nll, model, n_data=50, temperature=1.0, step=step, warmup_steps=10)
        torch.testing.assert_close(loss, nll + share * kl(model) / 50)


def test_units_at_the_prior_are_counted():
    layer = convert(nn.Linear(4, 4), seed=0)
    assert at_prior(layer) == {"weight": 0.0}
    with torch.no_grad():
        layer.parametrizations.weight.original[:3].zero_()
        layer.parametrizations.weight[0].log_std[:3].zero_()
    assert at_prior(layer) == {"weight": 0.75}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nll": torch.ones(3)}, r"nll=.*\(3,\)"),
        ({"nll": 1.0}, "nll=.*float"),
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"n_data": 0}, "n_data=0"),
        ({"n_data": 5.0}, "n_data=5.0"),
        ({"warmup_steps": 10}, "step=None"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        elbo(
            **{
                "nll": torch.tensor(1.0),
                "model": convert(mlp(4, 4), seed=0),
                "n_data": 5,
                **arguments,
            }
        )


@pytest.mark.parametrize("call", [kl, at_prior, posterior])
def test_a_plain_model_is_refused(call):
    with pytest.raises(ArgumentError, match="convert"):
        call(mlp(4, 4))
