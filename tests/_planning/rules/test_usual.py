"""Weights of the usual variance: a quarter where they estimate, orthogonal where they are few."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import isoinit
from isoinit import sparse
from isoinit._planning.rules.usual import FEW


def weights(model, batch):
    return [entry for entry in isoinit.plan(model, batch) if entry.name.endswith("weight")]


def fed_by(activation, n_in, n_out):
    return nn.Sequential(nn.Linear(36, n_in), activation, nn.Linear(n_in, n_out))


X = torch.randn(2, 36)
# What feeds a weight, and Var(w) · fan_in: by closed forms, and by quadrature outside this library.
VARIANCES = [
    (nn.Identity(), 1.0),
    (nn.ReLU(), 2.0),
    (nn.LeakyReLU(0.2), 2 / 1.04),
    (nn.GELU(), 1.533530**2),
]


@pytest.mark.parametrize(("activation", "variance"), VARIANCES)
@pytest.mark.parametrize(("n_in", "n_out"), [(256, 256), (64, 1024), (256, 257), (1025, 64)])
def test_many_and_few_weights_have_the_std_of_he_and_lecun(activation, variance, n_in, n_out):
    entry = isoinit.plan(fed_by(activation, n_in, n_out), X)["2.weight"]
    assert entry.std == pytest.approx(math.sqrt(variance / n_in), rel=1e-6)
    exact = isoinit.LeCunNormal(gain=isoinit.gain(activation)).std_for(entry.layout)
    assert entry.std == pytest.approx(exact, rel=1e-9)
    few = n_in * n_out <= FEW
    kinds = isoinit.Orthogonal if few else (isoinit.HeNormal, isoinit.LeCunNormal)
    assert isinstance(entry.initializer, kinds)
    assert ("orthogonal at this variance" in entry.reason) == few
    assert ("Yu et al. 2016" in entry.source) == few


def test_what_is_drawn_is_orthogonal_and_of_that_size():
    for n_in, n_out in ((64, 32), (32, 64)):
        model = fed_by(nn.ReLU(), n_in, n_out)
        isoinit.init(model, X, seed=0)
        w = model[2].weight.detach().double()
        short = w if n_out < n_in else w.T
        size = 2 / n_in * w.numel() / len(short)  # 2/fan_in a weight, in rows of equal length
        torch.testing.assert_close(
            short @ short.T, size * torch.eye(len(short)).double(), atol=1e-5, rtol=0
        )


def test_each_of_several_maps_counts_by_itself():
    """A grouped kernel of 147,456 weights: 64 maps of 16 × 144."""
    grouped = nn.Sequential(nn.Conv2d(1024, 1024, 3, groups=64), nn.ReLU(), nn.Conv2d(1024, 8, 1))
    kernel = isoinit.plan(grouped, torch.randn(2, 1024, 5, 5))["0.weight"]
    assert math.prod(kernel.shape) > FEW
    assert isinstance(kernel.initializer, isoinit.Orthogonal)
    assert kernel.std == pytest.approx(1 / math.sqrt(144), rel=1e-9)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Linear(*size, dtype=torch.complex64) for size in ((16, 32), (32, 8)))

    def forward(self, x):
        x = self.a(x)
        return self.b(torch.complex(x.real.relu(), x.imag.relu())).abs()


def test_complex_weights_are_drawn_one_by_one_at_the_same_size():
    torch.manual_seed(0)
    a, b = weights(Complex(), torch.randn(256, 16, dtype=torch.complex64))
    assert not isinstance(a.initializer, isoinit.Orthogonal)
    assert not isinstance(b.initializer, isoinit.Orthogonal)
    assert a.std == pytest.approx(1 / 4, rel=1e-6)
    assert b.std == pytest.approx(math.sqrt(2 / 32), rel=0.05)  # measured


@pytest.mark.parametrize(("n_out", "share"), [(32, 1), (36, 1 / 4)])
def test_what_a_sparse_weight_keeps_is_drawn_one_by_one(n_out, share):
    model = sparse.convert(fed_by(nn.ReLU(), 64, n_out), density=0.25, seed=0)
    found = [entry for entry in isoinit.plan(model, X) if entry.layout.kind == "kept"]
    assert len(found) == 2
    for entry in found:
        assert isinstance(entry.initializer, (isoinit.LeCunNormal, isoinit.HeNormal))
        assert "orthogonal" not in entry.reason
    assert found[1].std == pytest.approx(share * math.sqrt(2 / found[1].fan_in), rel=1e-6)


class Product(nn.Module):
    """A weight of low rank: no row of either factor is a row of the weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(36, 32)
        self.u, self.v = nn.Parameter(torch.randn(32, 4)), nn.Parameter(torch.randn(4, 32))

    def forward(self, x):
        return nn.functional.linear(self.first(x).relu(), self.u @ self.v)


class Both(nn.Module):
    """A weight that is the sum of two parameters."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(36, 32)
        self.u, self.v = nn.Parameter(torch.randn(8, 32)), nn.Parameter(torch.randn(8, 32))

    def forward(self, x):
        return nn.functional.linear(self.first(x).relu(), self.u + self.v)


@pytest.mark.parametrize("kind", [Product, Both])
def test_parameters_that_make_a_weight_together_are_drawn_one_by_one(kind):
    plan = isoinit.plan(kind(), X)
    for name in "uv":
        assert plan[name].std > 0
        assert not isinstance(plan[name].initializer, isoinit.Orthogonal)
    assert isinstance(plan["first.weight"].initializer, isoinit.Orthogonal)


def test_a_weight_that_is_no_map_or_has_other_rules_is_not_orthogonal():
    table = isoinit.plan(nn.Embedding(9, 16), torch.tensor([[1]]))["weight"]
    assert table.initializer == isoinit.Normal(std=0.5)
    one = isoinit.plan(nn.Sequential(nn.Linear(36, 1), nn.ReLU(), nn.Linear(1, 1)), X)["2.weight"]
    assert not isinstance(one.initializer, isoinit.Orthogonal)  # one number has no direction
    assert one.std == pytest.approx(math.sqrt(2) / 4)  # and starts as an estimate


@pytest.mark.parametrize("width", [64, 300])
def test_an_output_of_the_form_of_an_input_starts_at_a_quarter(width):
    """A denoiser: He's std is √(2/width)."""
    x = torch.randn(512, 48 if width == 64 else 300)
    model = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, x.shape[1]))
    plan = isoinit.init(model, x, seed=0)
    entry = plan["2.weight"]
    assert entry.std == pytest.approx(math.sqrt(2 / width) / 4, rel=1e-9)
    assert isinstance(entry.initializer, isoinit.Orthogonal) == (width == 64)
    assert "a quarter of that" in entry.reason
    assert entry.expected == pytest.approx(1 / 4, rel=0.01)  # the example's size counts
    assert model(x).detach().square().mean().sqrt().item() == pytest.approx(1 / 4, rel=0.1)
    assert plan["0.weight"].std == pytest.approx(x.shape[1] ** -0.5, rel=1e-9)


def test_other_outputs_start_at_one():
    entry = isoinit.plan(fed_by(nn.ReLU(), 64, 10), X)["2.weight"]
    assert entry.std == pytest.approx(math.sqrt(2 / 64), rel=1e-9)
    assert "a quarter" not in entry.reason


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def test_one_parameter_that_makes_a_weight_alone_is_scaled_for_it():
    model = fed_by(nn.ReLU(), 64, 10)
    parametrize.register_parametrization(model[2], "weight", Halved())
    entry = isoinit.plan(model, X)["2.parametrizations.weight.original"]
    assert entry.std == pytest.approx(2 * math.sqrt(2 / 64), rel=1e-6)
    assert not isinstance(entry.initializer, isoinit.Orthogonal)
