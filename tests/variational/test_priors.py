"""Priors, against torch's own divergences and against Monte Carlo."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions as d
from torch import nn

import isoinit
from isoinit.errors import ArgumentError
from isoinit.variational import NormalPrior, ScaleMixture, convert, kl, posterior
from isoinit.variational.priors import build_prior


def divergence(prior, mean, std, shape=(2, 3)):
    """Of a posterior of this shape, elementwise, in float64."""
    means = torch.full(shape, float(mean), dtype=torch.float64)
    log_std = torch.full_like(means, std).log()
    return build_prior(prior, means, 0.5, "w").kl(means, log_std)


@given(
    mean=st.floats(-5, 5),
    spread=st.floats(1e-5, 12),
    prior=st.floats(1e-3, 1e3),
    centre=st.floats(-3, 3),
)
def test_normal_is_that_of_torch(mean, spread, prior, centre):
    found = divergence(NormalPrior(prior, centre), mean, spread)
    means = torch.full((2, 3), mean, dtype=torch.float64)
    laws = (
        d.Normal(means, torch.full_like(means, spread)),
        d.Normal(*means.new_tensor([centre, prior])),
    )
    expected = d.kl_divergence(*laws)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prior", [d.Normal(0.3, 0.7), d.Laplace(0.1, 0.4), d.Gumbel(0.1, 2.0)])
def test_a_distribution_with_a_registered_divergence_uses_it(prior):
    expected = d.kl_divergence(d.Normal(0.2, 0.5), prior)
    torch.testing.assert_close(
        divergence(prior, 0.2, 0.5), expected.double().expand(2, 3), rtol=1e-6, atol=0
    )


MIXTURE = d.MixtureSameFamily(
    d.Categorical(torch.tensor([0.25, 0.75])), d.Normal(torch.zeros(2), torch.tensor([1.0, 0.1]))
)


@pytest.mark.parametrize(
    "prior",
    [ScaleMixture(0.25, 1.0, 0.1), d.StudentT(3.0), MIXTURE, d.Cauchy(0.0, 1.0)],
)
def test_others_are_estimated_without_bias(prior):
    """30,000 estimates against quadrature: 4.9 standard errors, one seed in 10**6."""
    law = MIXTURE if isinstance(prior, ScaleMixture) else prior
    mean, std = 0.4, 0.3
    w = torch.linspace(mean - 12 * std, mean + 12 * std, 200_001, dtype=torch.float64)
    q = d.Normal(mean, std)
    expected = torch.trapezoid(q.log_prob(w).exp() * (q.log_prob(w) - law.log_prob(w)), w)
    found = divergence(prior, mean, std, (30_000,))
    error = found.std() / math.sqrt(found.numel())
    assert abs(found.mean() - expected) < 4.9 * error


def test_more_samples_make_the_estimate_less_noisy():
    one, many = (divergence(ScaleMixture(samples=n), 0.4, 0.3, (1200,)).std() for n in (1, 64))
    assert many < one / 4  # 1/8 is expected


def test_a_tied_mean_leaves_the_mean_free():
    assert torch.equal(divergence(NormalPrior(0.7, "tied"), 5.0, 0.3), divergence(0.7, 0.0, 0.3))
    layer = convert(nn.Linear(3, 2), prior=NormalPrior(mean="tied"), seed=0)
    kl(layer).backward()
    parts = layer.parametrizations.weight
    assert parts.original.grad is None
    assert parts[0].log_std.grad.all()


def test_a_prior_centred_at_the_start():
    layer = convert(nn.Linear(3, 2), prior=NormalPrior(0.5, "start"), scale=0.2, seed=0)
    sigma = posterior(layer)["weight"].stddev.double() / 0.5
    expected = ((sigma**2 - 1) / 2 - sigma.log()).sum().item()
    assert kl(layer).item() == pytest.approx(expected, rel=1e-5)
    assert not layer.parametrizations.weight[0].prior.mean.requires_grad


def test_a_relative_prior_follows_each_layers_plan():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
    plan = isoinit.plan(model, torch.zeros(1, 16))
    convert(model, plan, prior=NormalPrior(2.0, relative=True), seed=0)
    for name in ("0.weight", "2.weight"):
        prior = model.get_submodule(name[0]).parametrizations.weight[0].prior
        assert prior.std.item() == pytest.approx(2 * plan[name].std)


def test_priors_by_pattern_and_role():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Embedding(3, 4))
    convert(
        model,
        prior={"*": 0.5, "1.weight": ScaleMixture(), "role:embedding": d.Laplace(0, 1.0)},
        seed=0,
    )
    kinds = [type(layer.parametrizations.weight[0].prior).__name__ for layer in model]
    assert kinds == ["_Normal", "_Mixture", "_Normal"]  # the first glob that matches decides
    model = nn.Sequential(nn.Linear(4, 4), nn.Embedding(3, 4))
    convert(model, prior={"role:embedding": d.Laplace(0.0, 1.0), "*": 0.5}, seed=0)
    assert type(model[1].parametrizations.weight[0].prior).__name__ == "_Any"


PRIORS = {
    "normal": lambda std: NormalPrior(std, 0.1),
    "tied": lambda std: NormalPrior(std, "tied"),
    "start": lambda std: NormalPrior(std, "start"),
    "mixture": lambda std: ScaleMixture(0.3, std),
    "Laplace": lambda std: d.Laplace(0.0, std),
    "StudentT": lambda std: d.StudentT(3.0, 0.0, std),
    "of torch, nested": lambda std: d.MixtureSameFamily(
        d.Categorical(torch.ones(2)), d.Normal(torch.zeros(2), torch.tensor([std, 0.1]))
    ),
}


@pytest.mark.parametrize("kind", PRIORS)
def test_a_prior_is_saved_and_loaded(kind, tmp_path):
    """Into a model converted with another prior of the kind."""
    saved = convert(nn.Linear(4, 3), prior=PRIORS[kind](0.7), seed=0)
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    fresh = convert(nn.Linear(4, 3), prior=PRIORS[kind](2.0), seed=5)
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    torch.manual_seed(0)
    expected = kl(saved)
    torch.manual_seed(0)
    assert kl(fresh) == expected
    fresh.to(torch.float64)
    assert kl(fresh).dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NormalPrior(0.0), "std=0.0"),
        (lambda: NormalPrior(mean="middle"), "mean='middle'.*start.*tied"),
        (lambda: NormalPrior(mean=math.nan), "mean=nan"),
        (lambda: ScaleMixture(share=1.0), "share=1.0"),
        (lambda: ScaleMixture(narrow=-1.0), "narrow=-1.0"),
        (lambda: ScaleMixture(samples=0), "samples=0"),
        (lambda: convert(nn.Linear(4, 3), prior=d.Normal(torch.zeros(5), 1.0), seed=0), r"\(5,\)"),
        (
            lambda: convert(nn.Linear(4, 3), prior=d.Independent(d.Normal(0.0, 1.0), 0), seed=0),
            "NormalPrior",
        ),
        (lambda: convert(nn.Linear(4, 3), prior=d.Dirichlet(torch.ones(4)), seed=0), "event shape"),
        (
            lambda: convert(nn.Linear(4, 3), prior=d.Normal(torch.tensor(0.0), 1e200), seed=0),
            "scale inf.*float32",
        ),
    ],
)
def test_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
