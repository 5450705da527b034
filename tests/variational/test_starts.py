"""Where distributions begin: at trained weights, and at regressions against closed forms."""

import math
from itertools import pairwise

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import isoinit
from isoinit.errors import ArgumentError
from isoinit.variational import Regression, Trained, convert, freeze, kl, posterior, predict


def net(*sizes):
    pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*[m for pair in pairs for m in pair][:-1])


# ---------------------------------------------------------------- trained weights


def test_trained_weights_become_means_with_a_share_of_them_as_spread():
    model = net(8, 16, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    convert(model, start=Trained(delta=0.2, floor=0.5), parameters="all", seed=0)
    for name, q in posterior(model).items():
        assert torch.equal(q.mean, before[name])
        floor = 0.5 * before[name].square().mean().sqrt()
        torch.testing.assert_close(q.stddev, 0.2 * before[name].abs().clamp_min(floor))


def test_the_default_prior_is_centred_at_trained_weights():
    """So the divergence leaves the means alone, and holds the spreads (Krishnan et al. 2020)."""
    model = convert(net(8, 16, 2), start=Trained(), seed=0)
    kl(model).backward()
    for layer in (model[0], model[2]):
        parts = layer.parametrizations.weight
        assert not parts.original.grad.any()
        assert parts[0].log_std.grad.all()


def test_zeros_get_a_spread():
    model = nn.Linear(16, 4)
    nn.init.zeros_(model.weight)
    convert(model, start=Trained(delta=0.2), seed=0)
    std = posterior(model)["weight"].stddev
    torch.testing.assert_close(std, torch.full_like(std, 0.2 / 4))


def test_trained_weights_that_are_not_finite_are_refused():
    model = net(8, 16, 2)
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    with pytest.raises(ArgumentError, match=r"'2.weight' holds NaN"):
        convert(model, start=Trained(), seed=0)
    assert not hasattr(model[0], "parametrizations")


# ---------------------------------------------------------------- regression


def ridge(x, y, noise_std):
    """Mean and precision of one unit's weights and bias, the prior as for the library."""
    rows = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    prior = torch.full((rows.shape[1],), float(x.shape[1])).double()
    prior[-1] = 1
    precision = rows.T @ rows / noise_std**2 + prior.diag()
    return torch.linalg.solve(precision, rows.T @ y.double() / noise_std**2), precision.diagonal()


def test_one_layer_is_bayesian_linear_regression():
    x, y = torch.randn(50, 3), torch.randn(50, 2)
    layer = convert(nn.Linear(3, 2), start=Regression(x, y, "values", noise_std=0.3), seed=0)
    q = posterior(layer)["weight"]
    for unit in range(2):
        mean, precision = ridge(x, y[:, unit], 0.3 * y[:, unit].std())
        torch.testing.assert_close(q.mean[unit], mean[:-1].float(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(q.stddev[unit], precision[:-1].rsqrt().float())
        torch.testing.assert_close(
            layer.bias[unit].detach(), mean[-1].float(), rtol=1e-4, atol=1e-5
        )


def test_a_convolution_regresses_from_its_patches():
    """A map of one place is a linear layer on the whole input."""
    x, y = torch.randn(40, 2, 3, 3), torch.randn(40, 1)
    conv = convert(nn.Conv2d(2, 1, 3), start=Regression(x, y, "values"), seed=0)
    line = convert(nn.Linear(18, 1), start=Regression(x.flatten(1), y, "values"), seed=0)
    one, other = posterior(conv)["weight"], posterior(line)["weight"]
    torch.testing.assert_close(one.mean.flatten(), other.mean.flatten())
    torch.testing.assert_close(one.stddev.flatten(), other.stddev.flatten())


def digits():
    pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    return pixels.float() / 16, labels


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_it_starts_nearer_to_the_answers_than_the_plan(kind):
    """Of 1,797 digits: below the loss of one who guesses, 2.303, before any training."""
    pixels, labels = digits()
    if kind == "dense":
        make, x = lambda: net(64, 64, 10), pixels
    else:
        x = pixels.reshape(-1, 1, 8, 8)

        def make():
            parts = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
            return nn.Sequential(*parts)

    losses = {}
    for name, start in (("plan", None), ("regression", Regression(x, labels))):
        model = make()
        convert(model, isoinit.plan(model, x[:2]), start=start, seed=0)
        mean = predict(model, x, 16, likelihood="logits", seed=0).mean
        losses[name] = -mean.log()[range(len(labels)), labels].mean().item()
        if start:
            accuracy = (mean.argmax(1) == labels).float().mean()
            assert accuracy > 0.7
    assert losses["regression"] < 1.7 < 2.2 < losses["plan"]


def test_units_of_an_inner_layer_differ_and_the_seed_repeats_them():
    pixels, labels = digits()
    one, other, third = (
        posterior(convert(net(64, 64, 10), start=Regression(pixels, labels), seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one["0.weight"].mean, other["0.weight"].mean)
    assert not torch.equal(one["0.weight"].mean, third["0.weight"].mean)
    assert torch.linalg.matrix_rank(one["0.weight"].mean) > 50
    assert len(one["0.weight"].mean.unique(dim=0)) == 64


def test_modes_buffers_and_the_generator_are_left_alone():
    pixels, labels = digits()
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(), nn.Linear(32, 10))
    model[1].eval()
    before = torch.get_rng_state()
    convert(model, isoinit.plan(model, pixels[:4]), start=Regression(pixels, labels), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert [m.training for m in (model, model[1], model[2])] == [True, False, True]
    assert not model[1].running_mean.any()
    assert cross_entropy(freeze(model).eval()(pixels), labels) < 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x, y: Regression(x, y, noise_std=0.0), "noise_std=0.0"),
        (lambda x, y: Regression(x, y, examples=1), "examples=1"),
        (lambda x, y: Regression(x, y.float()), "class indices"),
        (lambda x, y: Regression(x, y, "values"), "floating-point"),
        (lambda x, y: Regression(x, y, "classes"), "'classes'"),
        (lambda x, y: Regression(x, y.float() / 0, "values"), "NaN or infinity"),
        (lambda x, y: Regression(x, y[:5]), "5 targets.*'0'.*10 rows"),
        (lambda x, y: Trained(delta=0.0), "delta=0.0"),
        (lambda x, y: Trained(floor=-1.0), "floor=-1.0"),
    ],
)
def test_refused_and_unchanged(make, words):
    model = net(4, 8, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(ArgumentError, match=words):
        convert(model, start=make(torch.randn(10, 4), torch.arange(10) % 2), seed=0)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_model_without_such_layers_is_refused():
    model = nn.Embedding(5, 3)
    x, y = torch.arange(5), torch.randn(5, 3)
    with pytest.raises(ArgumentError, match=r"no nn\.Linear and no convolution"):
        convert(model, start=Regression(x, y, "values"), seed=0)
