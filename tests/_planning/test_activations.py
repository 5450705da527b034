"""`isoinit._planning.activations.gain` of names, modules and functions of either library."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn import functional

from checkers import ALARM
from isoinit._planning.activations import gain
from isoinit.errors import ArgumentError
from isoinit.initializers.scale import activation_gain

MODULES = [
    (nn.Identity(), "linear"),
    (nn.ReLU(), "relu"),
    (nn.ReLU(inplace=True), "relu"),
    (nn.LeakyReLU(), "leaky_relu"),
    (nn.ReLU6(), "relu6"),
    (nn.Tanh(), "tanh"),
    (nn.Sigmoid(), "sigmoid"),
    (nn.GELU(), "gelu"),
    (nn.GELU(approximate="tanh"), "gelu_tanh"),
    (nn.SiLU(), "silu"),
    (nn.Mish(), "mish"),
    (nn.ELU(), "elu"),
    (nn.CELU(), "celu"),
    (nn.SELU(), "selu"),
    (nn.Softsign(), "softsign"),
    (nn.Hardtanh(), "hardtanh"),
    (nn.Hardswish(), "hardswish"),
    (nn.Hardsigmoid(), "hardsigmoid"),
]


@pytest.mark.parametrize(("module", "name"), MODULES, ids=lambda value: str(value))
def test_a_module_has_the_gain_of_its_name(module, name):
    assert gain(module) == pytest.approx(activation_gain(name), rel=1e-10)
    assert gain(name) == activation_gain(name)


def test_softplus_up_to_torchs_threshold():
    """Torch takes softplus as linear above 20, beyond what a normal reaches."""
    assert gain(nn.Softplus()) == pytest.approx(activation_gain("softplus"), rel=1e-10)


def test_prelu_uses_its_own_slope():
    assert gain(nn.PReLU()) == pytest.approx(math.sqrt(2 / (1 + 0.25**2)), rel=1e-10)
    assert gain(nn.PReLU(init=0.5)) == pytest.approx(math.sqrt(2 / 1.25), rel=1e-10)


@pytest.mark.parametrize("edge", [0.5, 0.3])
def test_hardshrink_jumps(edge):
    """E[z²; |z| > λ] = 2(λφ(λ) + Φ(-λ))."""
    moment = 2 * (edge * norm.pdf(edge) + norm.sf(edge))
    assert gain(nn.Hardshrink(edge)) == pytest.approx(moment**-0.5, rel=1e-9)


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # NumPy 2 on a torch tensor
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.relu, "relu"),
        (torch.tanh, "tanh"),
        (torch.Tensor.sigmoid, "sigmoid"),
        (functional.silu, "silu"),
        (np.tanh, "tanh"),
        (lambda x: np.maximum(x, np.zeros(1)), "relu"),
        (lambda x: np.where(x > 0, x, 0.01 * x), "leaky_relu"),
        (lambda x: x * torch.sigmoid(x), "silu"),
        (lambda x: x, "linear"),
    ],
)
def test_functions_of_torch_and_of_numpy(function, name):
    assert gain(function) == pytest.approx(activation_gain(name), rel=1e-10)


def test_composites():
    """A ReLU twice as tall and squared: E[(2z²)²; z > 0] = 4·3/2."""
    assert gain(lambda x: 2 * torch.relu(x) ** 2) == pytest.approx(6**-0.5, rel=1e-10)
    assert gain(nn.Sequential(nn.ReLU(), nn.Hardtanh(0, 1))) == pytest.approx(
        (0.5 - norm.pdf(1)) ** -0.5, rel=1e-10
    )  # E[z²; 0 < z < 1] + Φ(-1) = 1/2 - φ(1)


SAMPLED = [
    *[module for module, _ in MODULES],
    nn.Softplus(),
    nn.Softplus(beta=3, threshold=2),
    nn.LogSigmoid(),
    nn.Tanhshrink(),
    nn.Softshrink(),
    nn.Hardshrink(0.3),
    nn.Threshold(0.1, -0.2),
    nn.ELU(2.0),
    nn.CELU(0.5),
    nn.PReLU(init=0.3),
    nn.Hardtanh(-0.3, 0.7),
]


CURVES = {
    **{str(module): module for module in SAMPLED},
    "tanh(50z)": lambda z: torch.tanh(50 * z),
    "sigmoid(100z)": lambda z: torch.sigmoid(100 * z),
    "hardsigmoid(30z)": lambda z: functional.hardsigmoid(30 * z),
    "relu(z - 0.3)²": lambda z: torch.relu(z - 0.3) ** 2,
    "sin(30z)": lambda z: torch.sin(30 * z),
    "round(4z)": lambda z: torch.round(4 * z),
    "|z|": torch.abs,
    "exp(-z²)": lambda z: torch.exp(-z * z),
}


def _in_torch(function):
    """The function in double precision, without a graph."""
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).double().requires_grad_(False)
    return function


@pytest.mark.slow
def test_gains_by_monte_carlo():
    """10⁸ normals of another generator (NumPy's PCG64) for every function at once.

    Their second moments, to a relative error of about 1e-4; one seed in a million for all.
    """
    curves = {name: _in_torch(function) for name, function in CURVES.items()}
    size, sums = 10**8, {name: np.zeros(2) for name in CURVES}
    generator, chunk = np.random.default_rng(20), 10**6
    for _ in range(size // chunk):
        z = torch.from_numpy(generator.standard_normal(chunk))
        for name, function in curves.items():
            squares = function(z.clone()).square()
            sums[name] += squares.sum().item(), squares.square().sum().item()
    for name, (second, fourth) in sums.items():
        mean = second / size
        error = math.sqrt((fourth / size - mean**2) / size)
        expected = gain(CURVES[name]) ** -2
        assert abs(mean - expected) < norm.isf(ALARM / len(CURVES) / 2) * error + 1e-12, name


def test_the_module_is_untouched():
    module = nn.PReLU().train()
    before = module.weight.clone()
    gain(module)
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, before)
    assert module.weight.grad is None
    assert module.training


def test_the_random_state_is_untouched():
    before = torch.get_rng_state()
    gain(nn.GELU())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "mixing",
    [
        nn.Softmax(dim=-1),
        nn.LogSoftmax(dim=0),
        nn.LayerNorm(8),
        lambda x: x - x.mean(),
        lambda x: x.sum(),
        lambda x: torch.stack([x, x]),
    ],
)
def test_what_mixes_its_inputs_has_no_gain(mixing):
    with pytest.raises(ArgumentError):
        gain(mixing)


def test_softmax_is_called_not_elementwise():
    with pytest.raises(ArgumentError, match=r"Softmax.*not elementwise"):
        gain(nn.Softmax(dim=-1))


@pytest.mark.parametrize(
    ("activation", "named"),
    [
        (3, "int"),
        (None, "NoneType"),
        ("gelo", "gelo"),
        (lambda x: x.nothing, "failed on a float64 torch tensor .* and on a NumPy array"),
        (lambda x: x * 0, "no gain"),
        (lambda x: x * math.nan, "nan"),
    ],
)
def test_mistakes(activation, named):
    with pytest.raises(ArgumentError, match=named):
        gain(activation)
