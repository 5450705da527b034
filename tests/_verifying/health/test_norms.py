"""Norm layers that are given less than their epsilon are found, and no others."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import isoinit

X = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Spelled(nn.Module):
    """A norm layer in steps, with a scale that is stored as its difference from one."""

    def __init__(self):
        super().__init__()
        self.g = nn.Parameter(torch.zeros(64))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * (1 + self.g)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


NORMS = {
    "layer": lambda: nn.LayerNorm(64),
    "rms": lambda: nn.RMSNorm(64, eps=1e-5),
    "batch": lambda: nn.BatchNorm1d(64),
    "group": lambda: nn.GroupNorm(4, 64),
    "spelled": Spelled,
}


def net(norm, small=1.0, activation=None):
    """Three layers; the output of the first, which a norm layer reads, is multiplied by `small`."""
    middle = nn.Linear(64, 48)
    model = nn.Sequential(
        nn.Linear(32, 64), norm, activation or nn.ReLU(), middle, nn.Linear(48, 8)
    )
    with torch.no_grad():
        model[0].weight.mul_(small)
        model[0].bias.zero_()
    return model


def below(model, x=X):
    found = [f for f in isoinit.check(model, x).findings if f.name == "below epsilon"]
    return found[0] if found else None


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.SiLU])
@pytest.mark.parametrize("norm", NORMS)
def test_a_signal_far_below_the_epsilon_is_found(norm, activation):
    """In closed form: sqrt(v/(v + eps)), v the variance that the norm layer gets."""
    model = net(NORMS[norm](), 1e-6, activation())
    finding = below(model)
    assert finding.severity == "warning"
    assert finding.where == ("3",)
    variance = model[0](X).pow(2).mean().item()
    expected = math.sqrt(variance / (variance + 1e-5))
    if activation is nn.ReLU:  # the others bend: around 0 they are straight
        assert finding.value == pytest.approx(expected, rel=0.25)
    assert "0.weight" in finding.advice


@pytest.mark.parametrize(
    ("small", "severity"), [(1e-2, None), (1e-4, "warning"), (1e-6, "warning")]
)
def test_how_far_below(small, severity):
    finding = below(net(nn.LayerNorm(64), small))
    assert (finding and finding.severity) == severity


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_a_scale_that_is_small_is_no_epsilon(scale):
    norm = nn.LayerNorm(64)
    nn.init.constant_(norm.weight, scale)
    assert below(net(norm)) is None


def test_what_is_no_norm_of_unit_size():
    lengths = (
        lambda x: F.normalize(x, dim=-1),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: 0.01 * F.layer_norm(x, (64,)),
        lambda x: F.layer_norm(x, (64,)).unflatten(0, (8, 8)).mean(0),
    )
    for function in lengths:
        assert below(net(Function(function))) is None


def test_zeros_and_running_statistics_are_no_epsilon():
    """Exact zeros are told by other findings, and batch norm in evaluation divides by no eps."""
    assert below(net(nn.LayerNorm(64), 0.0)) is None
    assert below(net(nn.BatchNorm1d(64), 1e-6).eval()) is None


def test_the_inputs_are_named_where_no_weight_is_too_small():
    model = net(nn.LayerNorm(64))
    finding = below(model, 1e-7 * X)
    assert finding.severity == "warning"
    assert finding.advice.startswith("standardize the input of the norm layer")


def test_a_bias_does_not_hide_it():
    model = net(nn.LayerNorm(64), 1e-8)
    nn.init.constant_(model[3].bias, 1.0)
    assert below(model).value < 1e-3


def test_what_is_not_finite_is_no_epsilon():
    model = net(nn.LayerNorm(64))
    nn.init.constant_(model[3].bias, math.nan)
    assert below(model) is None
