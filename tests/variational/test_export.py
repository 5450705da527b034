"""Plain modules and distributions out of a converted model."""

import copy

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError
from isoinit.variational import convert, freeze, posterior, sample


class Both(nn.Module):
    """Layers of several kinds, one of them under another parametrization too."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.lstm = nn.LSTM(4, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))

    def forward(self, tokens):
        return self.normed(self.lstm(self.embed(tokens))[0])


def made():
    model = Both()
    return convert(model, parameters=lambda name, p: "normed" not in name and p.ndim > 1, seed=0)


TOKENS = torch.tensor([[0, 1, 2], [4, 3, 2]])


def test_frozen_is_the_mean():
    model = made()
    plain = freeze(model)
    assert type(plain.lstm) is nn.LSTM
    assert sorted(plain.state_dict()) == sorted(Both().state_dict())
    for name, q in posterior(model).items():
        assert torch.equal(plain.get_parameter(name), q.mean)
    assert torch.equal(plain(TOKENS), plain(TOKENS))
    assert not plain._forward_pre_hooks
    assert not plain._forward_hooks_always_called
    plain(TOKENS).sum().backward()  # and can be trained
    assert all(p.grad is not None for p in plain.parameters())


def test_samples_differ_by_their_seed_and_leave_the_model():
    model = made()
    before = copy.deepcopy(model.state_dict())
    one, again, other = (sample(model, seed) for seed in (1, 1, 2))
    for name, p in one.named_parameters():
        assert torch.equal(p, again.get_parameter(name))
    assert not torch.equal(one.embed.weight, other.embed.weight)
    assert not torch.equal(one(TOKENS), other(TOKENS))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(model(TOKENS), model(TOKENS))
    torch.manual_seed(5)
    third = sample(model)
    torch.manual_seed(5)
    assert torch.equal(third.embed.weight, sample(model).embed.weight)


def test_a_sample_has_the_moments_of_the_posterior():
    """4,096 weights: mean within 5 standard errors, spread within 6 %."""
    layer = convert(nn.Linear(64, 64), scale=0.5, seed=0)
    q = posterior(layer)["weight"]
    z = (sample(layer, 3).weight - q.mean) / q.stddev
    assert abs(z.mean()) < 5 / 64
    assert z.std().item() == pytest.approx(1, abs=0.06)


def test_a_copy_has_draws_of_its_own():
    model = made()
    twin = copy.deepcopy(model)
    torch.manual_seed(0)
    expected = model(TOKENS)
    torch.manual_seed(0)
    assert torch.equal(twin(TOKENS), expected)
    parts = [m.embed.parametrizations.weight[0] for m in (model, twin)]
    assert parts[0].draws is not parts[1].draws
    assert parts[1].draws is twin.lstm.parametrizations.weight_ih_l0[0].draws
    assert not torch.equal(twin(TOKENS), twin(TOKENS))


def test_other_parametrizations_of_a_layer_stay():
    layer = nn.Bilinear(3, 3, 4)
    nn.utils.parametrizations.weight_norm(layer, "weight")
    convert(layer, parameters="bias", seed=0)
    plain = freeze(layer)
    assert isinstance(plain.bias, nn.Parameter)
    assert "parametrizations.weight.original0" in plain.state_dict()
    x = torch.randn(2, 3)
    assert torch.equal(plain(x, x), plain(x, x))
    assert not torch.equal(layer(x, x), layer(x, x))


def test_posteriors_are_what_others_read():
    layer = convert(nn.Linear(4, 2), seed=0)
    q = posterior(layer)["weight"]
    assert isinstance(q, torch.distributions.Normal)
    assert q.log_prob(q.sample()).shape == (2, 4)
    assert not q.mean.requires_grad
    with torch.no_grad():
        layer.parametrizations.weight.original.zero_()
    assert q.mean.any()  # a copy


@pytest.mark.parametrize("call", [posterior, sample, freeze])
def test_a_plain_model_is_refused(call):
    with pytest.raises(ArgumentError, match="convert"):
        call(nn.Linear(2, 2))


def test_health_is_checked_as_for_any_model():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    x = torch.randn(32, 16)
    convert(model, isoinit.plan(model, x), seed=0)
    assert isoinit.check(model, x).ok
