"""Plain chains as they are read from models: what belongs to one, and what each layer reads."""

import pytest
import torch
from torch import nn

import isoinit


class Act(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def stack(*functions, depth=20, width=32, **options):
    layers = []
    for index in range(depth):
        layers += [nn.Linear(width, width, **options), Act(functions[index % len(functions)])]
    return nn.Sequential(*layers[:-1])


def planned(model, *shape):
    torch.manual_seed(0)
    return isoinit.plan(model, torch.randn(*(shape or (4, 32))))


def gauss(x):
    return torch.exp(-x * x)


def test_centred_from_the_second_layer_to_the_last():
    plan = planned(stack(gauss, width=256), 4, 256)
    first, inner, last = (plan[f"{i}.weight"] for i in (0, 18, 38))
    assert isinstance(first.initializer, isoinit.Orthogonal)
    assert isinstance(inner.initializer, isoinit.Centred)
    assert isinstance(last.initializer, isoinit.Centred)
    numbers = dict(inner.numbers)
    # σ_w² = 1/E[φ'²] = (1 + 4q)^(3/2)/4q for exp(-x²), σ_b² = q - σ_w² Var[φ].
    q = numbers["q"]
    assert numbers["σ_w²"] == pytest.approx((1 + 4 * q) ** 1.5 / (4 * q), rel=1e-4)
    variance = (1 + 4 * q) ** -0.5 - 1 / (1 + 2 * q)
    assert numbers["σ_b²"] == pytest.approx(q - numbers["σ_w²"] * variance, rel=1e-3)
    assert plan["18.bias"].std ** 2 == pytest.approx(numbers["σ_b²"])
    assert plan["38.bias"].initializer == isoinit.Zeros()
    assert inner.expected**2 == pytest.approx(q, rel=0.02)
    assert plan.notes == ()


@pytest.mark.parametrize(
    "function", [gauss, torch.abs, lambda x: torch.sqrt(x.abs() + 0.1), torch.tanh, torch.relu]
)
def test_signal_gradient_and_examples_live(function):
    """20 layers of 128: within a factor of ten forward and backward, and examples differ."""
    model, x = stack(function, width=128), torch.randn(64, 128)
    isoinit.plan(model, x).apply(model, seed=0)
    outputs, h = [], x.requires_grad_()
    for layer in model:
        h = layer(h)
        if isinstance(layer, nn.Linear):
            h.retain_grad()
            outputs.append(h)
    (h * torch.randn(h.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for norms in ([o.norm().item() for o in outputs], [o.grad.norm().item() for o in outputs]):
        assert max(norms) < 10 * min(norms)
    assert h.std(0).norm() > 0.01 * h.square().mean(0).sqrt().norm()


@pytest.mark.parametrize("slopes", [1, 128])
def test_prelu_is_the_leaky_relu_that_it_starts_as(slopes):
    layers = [x for _ in range(20) for x in (nn.Linear(128, 128), nn.PReLU(slopes))]
    leaky = stack(lambda x: nn.functional.leaky_relu(x, 0.25), width=128)
    plans = [
        isoinit.plan(model, torch.randn(8, 128)) for model in (nn.Sequential(*layers[:-1]), leaky)
    ]
    for name in ("0.weight", "18.weight", "38.weight"):
        mine, other = (plan[name] for plan in plans)
        assert (mine.initializer, mine.rule) == (other.initializer, "mirrored chain")


def test_a_convolutional_chain_is_centred_at_the_centre_tap():
    layers = []
    for index in range(20):
        layers += [nn.Conv2d(3 if index == 0 else 64, 64, 3, padding=1), Act(gauss)]
    plan = planned(nn.Sequential(*layers), 2, 3, 8, 8)
    assert plan["20.weight"].initializer.taps == "centre"
    assert plan.notes == ()


def test_depthwise_kernels_have_one_input_and_cannot_be_centred():
    layers = []
    for _ in range(20):
        layers += [nn.Conv2d(64, 64, 3, padding=1, groups=64), Act(gauss)]
    plan = planned(nn.Sequential(*layers), 2, 64, 8, 8)
    assert isinstance(plan["20.weight"].initializer, isoinit.Orthogonal)


def test_layers_without_biases_say_that_biases_would_help():
    assert planned(stack(gauss, depth=30, width=256), 4, 256).notes == ()
    (note,) = planned(stack(gauss, depth=30, width=256, bias=False), 4, 256).notes
    assert "'0.weight' to '58.weight'" in note
    assert "biases in these layers, a norm layer" in note


def test_layers_without_biases_that_need_none():
    plan = planned(stack(torch.relu, bias=False))
    assert plan["18.weight"].initializer == isoinit.LooksLinear()
    assert plan.notes == ()


def test_two_functions_in_turn_rest_at_one_size():
    plan = planned(stack(torch.tanh, torch.relu, width=128), 4, 128)
    assert plan.notes == ()
    sizes = {dict(plan[f"{i}.weight"].numbers)["q"] for i in range(0, 40, 2)}
    assert len(sizes) == 1
    expected = [plan[f"{i}.weight"].expected for i in range(0, 38, 2)]
    assert max(expected) < 1.05 * min(expected)


def test_a_softmax_between_layers_is_no_elementwise_function():
    (note,) = planned(stack(lambda x: x.softmax(-1))).notes
    assert "20 layers in a row have only softmax between them" in note
    assert "cannot follow" in note


def test_short_stacks_raise_no_doubts():
    assert planned(stack(lambda x: x.softmax(-1), depth=12)).notes == ()
    notes = planned(stack(lambda x: x**3, depth=12)).notes
    assert not [note for note in notes if "no known weights" in note]


def test_a_function_without_moments_is_no_straight_line():
    (note,) = planned(stack(lambda x: torch.exp(x * x))).notes
    assert "no known weights" in note


class Hidden(nn.Module):
    """What the walk cannot see through."""

    def forward(self, x):
        return torch.from_numpy(x.detach().numpy() * 2)


def test_a_chain_behind_what_is_not_followed_takes_it_for_unit_size_and_says_so():
    known = planned(stack(torch.tanh, depth=16))
    plan = planned(nn.Sequential(Hidden(), *stack(torch.tanh, depth=16)))
    assert plan["1.weight"].initializer == known["0.weight"].initializer
    assert "not known and is assumed to have unit size" in plan["1.weight"].reason
    assert plan["3.weight"].initializer == known["2.weight"].initializer
    assert plan["3.weight"].gain ** 2 == pytest.approx(1.3940, abs=1e-4)


def test_fast_sines_have_weights_of_their_own():
    plan = planned(stack(lambda x: torch.sin(30 * x), depth=16))
    assert plan["14.weight"].rule == "SIREN"
    assert plan.notes == ()
