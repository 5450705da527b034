"""The share of a kernel's taps on the input, against kernels and inputs of ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit
from isoinit._reading.taps import taps

CASES = [
    ("conv1d", (9,), (3,), {}),
    ("conv2d", (1, 1), (3, 3), {"padding": 1}),
    ("conv2d", (2, 5), (3, 5), {"padding": (1, 2)}),
    ("conv2d", (8, 8), (3, 3), {"padding": 1, "stride": 2}),
    ("conv2d", (7, 7), (3, 3), {"padding": "same", "dilation": 2}),
    ("conv2d", (6, 6), (4, 2), {"padding": "same"}),
    ("conv2d", (6, 6), (3, 3), {"padding": "valid"}),
    ("conv3d", (2, 3, 4), (3, 3, 3), {"padding": 1, "stride": (1, 2, 2)}),
    ("conv_transpose1d", (1,), (4,), {}),
    ("conv_transpose2d", (1, 1), (4, 4), {}),
    ("conv_transpose2d", (4, 4), (4, 4), {"stride": 2, "padding": 1}),
    ("conv_transpose2d", (3, 5), (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
]


@pytest.mark.parametrize(("name", "size", "kernel", "options"), CASES)
def test_ones_count_the_terms(name, size, kernel, options):
    function = getattr(functional, name)
    x = torch.ones(1, 1, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, 1, *kernel, dtype=torch.float64)
    made = function(x, weight, **options)
    made.sum().backward()
    stride = options.get("stride", 1)
    steps = torch.tensor(stride if isinstance(stride, tuple) else [stride] * len(kernel)).prod()
    count = weight.numel()
    terms, reach = (count / steps, count) if "transpose" in name else (count, count / steps)
    found = taps(name, (x, weight), options)
    assert found.read == pytest.approx(made.mean().item() / float(terms))
    assert found.reached == pytest.approx(x.grad.mean().item() / float(reach))


def stack(width, side, activation):
    layers = [
        part for _ in range(6) for part in (nn.Conv2d(width, width, 3, padding=1), activation())
    ]
    return nn.Sequential(*layers), torch.randn(64, width, side, side)


@pytest.mark.parametrize("side", [1, 2, 32])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_the_signal_lives_on_tiny_maps(side, activation):
    model, x = stack(32, side, activation)
    plan = isoinit.plan(model, x[: 64 // side])
    plan.apply(model, seed=0)
    made = model[:-1](x[: 64 // side])
    # Six layers of 32 units: exp(±√(6·5/32)) = 2.6 at one standard deviation in variance (Hanin &
    # Rolnick 2018), so within 5 both ways in the root mean square but for one draw in a thousand.
    assert 0.2 < made.square().mean().sqrt().item() < 5
    assert 0.2 < plan["10.weight"].expected < 5


def test_maps_of_usual_size_do_not_change_a_plan():
    plans = [isoinit.plan(*stack(8, side, nn.ReLU)) for side in (4, 8, 64)]
    assert plans[0].digest == plans[1].digest == plans[2].digest


def test_the_first_layer_of_a_generator_adds_up_one_tap():
    model = nn.Sequential(nn.ConvTranspose2d(100, 512, 4), nn.ReLU(), nn.Conv2d(512, 3, 1))
    x = torch.randn(64, 100, 1, 1)
    plan = isoinit.plan(model, x)
    assert plan["0.weight"].fan_in == 100
    plan.apply(model, seed=0)
    assert model[0](x).std().item() == pytest.approx(1, rel=0.05)


def test_a_mirrored_chain_expects_what_its_centre_taps_make():
    layers = [p for _ in range(16) for p in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
    model, x = nn.Sequential(*layers), torch.randn(64, 16, 1, 1)
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    made = model[:-1](x).square().mean().sqrt().item()
    assert plan["30.weight"].expected == pytest.approx(made, rel=0.2)
