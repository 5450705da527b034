"""Predictions: their moments, what they leave alone, and a network that learns."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, softplus
from torch.nn.utils import parametrize

import isoinit
from isoinit.errors import ArgumentError
from isoinit.variational import convert, kl, predict


@pytest.fixture(autouse=True)
def one_thread():
    """Such small products are slower on two threads, and much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_moments_of_a_linear_layer():
    """Output N(xμᵀ + b, x²(σ²)ᵀ); 20,000 draws: one seed in 10**5 (4.9 σ each)."""
    layer = convert(nn.Linear(4, 2), scale=0.7)
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    prediction = predict(layer, x, samples=20_000)
    parts = layer.parametrizations.weight
    with torch.no_grad():
        mean = x @ parts.original.T + layer.bias
        std = (x**2 @ (softplus(parts[0].rho) ** 2).T).sqrt()
    error = std / math.sqrt(20_000)
    assert ((prediction.mean - mean).abs() < 4.9 * error).all()
    assert ((prediction.std - std).abs() < 4.9 * error / math.sqrt(2)).all()


def test_std_is_unbiased_in_its_square():
    """n in the denominator would halve it for two draws. The ratio's error is 3 %."""
    layer = convert(nn.Linear(4, 2))
    x = torch.ones(1, 4)
    torch.manual_seed(0)
    few = torch.stack([predict(layer, x, samples=2).std ** 2 for _ in range(2000)]).mean()
    many = (predict(layer, x, samples=4000).std ** 2).mean()
    assert abs(few / many - 1) < 0.15


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, left, right):
        return self.layer(left) - self.layer(right)


def test_inputs_of_every_kind():
    model = convert(TwoInputs())
    a, b = torch.ones(2, 3), torch.zeros(2, 3)
    for x in ((a, b), {"left": a, "right": b}):
        torch.manual_seed(0)
        prediction = predict(model, x, samples=4)
        assert prediction.mean.shape == prediction.std.shape == (2, 3)
        assert (prediction.std > 0).all()


def test_one_draw_serves_all_uses_of_a_layer_in_a_forward():
    """The same input twice: with one draw a forward the difference is exactly zero."""
    x = torch.ones(2, 3)
    prediction = predict(convert(TwoInputs()), (x, x))
    assert prediction.std.eq(0).all()


def test_mode_buffers_and_gradients_are_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    convert(model).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prediction = predict(model, torch.randn(6, 4))
    assert not prediction.mean.requires_grad
    assert not model.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("samples", [1, 0, -3, 2.5, True, None])
def test_too_few_samples_are_refused(samples):
    with pytest.raises(ArgumentError, match="at least 2"):
        predict(convert(nn.Linear(2, 2)), torch.ones(1, 2), samples=samples)


class Labels(nn.Linear):
    def forward(self, x):
        return super().forward(x).argmax(-1)


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(("layer", "found"), [(Labels, "torch.int64"), (Pair, "tuple")])
def test_other_outputs_are_refused(layer, found):
    with pytest.raises(ArgumentError, match=f"returned {found}"):
        predict(convert(layer(2, 2)), torch.ones(1, 2))


def test_a_plain_model_and_another_kind_of_input_are_refused():
    with pytest.raises(ArgumentError, match="convert"):
        predict(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(ArgumentError, match="expected a tensor"):
        predict(convert(nn.Linear(2, 2)), [torch.ones(1, 2)])


def test_a_cache_around_it_is_refused():
    layer = convert(nn.Linear(2, 2))
    with parametrize.cached(), pytest.raises(ArgumentError, match="cached"):
        predict(layer, torch.ones(1, 2))


def test_a_network_learns_digits_and_knows_what_is_not_one():
    """Over 8 seeds: accuracy 0.950 to 0.980, std on shuffled pixels 9 to 20 times as large."""
    torch.manual_seed(0)
    pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    pixels = pixels.float() / 16
    order = torch.randperm(len(pixels))
    train, test = order[:1400], order[1400:]
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    convert(model, isoinit.plan(model, pixels[:2]), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        for batch in train[torch.randperm(len(train))].split(100):
            loss = cross_entropy(model(pixels[batch]), labels[batch])
            loss = loss + 0.1 * kl(model) / len(train)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    classifier = nn.Sequential(model, nn.Softmax(-1))
    known = predict(classifier, pixels[test])
    assert (known.mean.argmax(1) == labels[test]).float().mean() >= 0.9
    assert (predict(model, pixels[test]).std > 0).all()
    shuffled = pixels[test][:, torch.randperm(64)]
    assert predict(classifier, shuffled).std.mean() > 2 * known.std.mean()
