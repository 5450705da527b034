"""The gradient that is worked out, against closed forms and against autograd on real models.

Measured gradients are means over a few fixed seeds; tolerances of 10 to 30 % allow for their scatter.
"""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, ViTConfig, ViTModel

import isoinit
from isoinit._reading.torch.trees import tensors_in
from zoo import generative, odd, vision


class Apply(nn.Module):
    """Two unit signals through a function, into the model's output."""

    def __init__(self, function, width=64):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.function = function

    def forward(self, x):
        x = self.norm(x)
        return self.function(self.a(x), self.b(x))


def squares(function, shape=(4, 8, 64)):
    """The mean squares of the gradients of a and b for a gradient of size one of f(a, b)."""
    torch.manual_seed(0)
    plan = isoinit.plan(Apply(function), torch.randn(shape))
    return [plan[name].expected_gradient ** 2 for name in ("a.weight", "b.weight")]


def step(a, _):
    return (a > 0).to(a.dtype) * 5 + a


def positive_ones_written(a, _):
    y = torch.zeros_like(a)
    y[a > 0] = a[a > 0]
    return y


def padded(a, **how):
    return functional.pad(a.mT, (4, 4), **how).mT  # eight places become sixteen


def norm_in_steps(a, _):
    return a * torch.rsqrt(a.square().mean(-1, keepdim=True))


# E[f'(a)²] by hand for independent standard normal a and b, or what a linear map does.
FORMS = {
    "identity": (lambda a, _: a, (1, 0)),
    "relu": (lambda a, _: torch.relu(a), (1 / 2, 0)),
    "leaky relu": (lambda a, _: functional.leaky_relu(a, 0.5), ((1 + 0.25) / 2, 0)),
    "square": (lambda a, _: a * a, (4, 0)),
    "sum": (lambda a, b: 2 * a - b, (4, 1)),
    "product": (lambda a, b: a * b, (1, 1)),
    "gate": (lambda a, b: torch.relu(a) * b, (1 / 2, 1 / 2)),
    "a sum with itself": (lambda a, _: a + torch.relu(a), (5 / 2, 0)),
    "a jump": (step, (1, 0)),
    "weighted sum": (lambda a, b: torch.add(a, b, alpha=3), (1, 9)),
    "dropout": (lambda a, _: functional.dropout(a, 0.25, training=True), (4 / 3, 0)),
    "detached": (lambda a, b: a.detach() * b, (0, 1)),
    "concatenation": (lambda a, b: torch.cat([a, 2 * b], -1), (1, 4)),
    "the first of two parts": (lambda a, _: a.chunk(2, -1)[0], (1 / 2, 0)),
    "both parts": (lambda a, _: torch.cat([2 * a[..., :16], a[..., 16:]], -1), (7 / 4, 0)),
    "parts that meet": (lambda a, _: a.chunk(2, -1)[0] * a.chunk(2, -1)[1], (1, 0)),
    "parts along the batch": (lambda a, _: torch.stack([x.relu() for x in a]), (1 / 2, 0)),
    "what a mask selects": (positive_ones_written, (1 / 2, 0)),
    "maxout": (lambda a, _: a.unflatten(-1, (32, 2)).amax(-1), (1 / 2, 0)),
    "maxout by max": (lambda a, _: a.unflatten(-1, (4, 16)).max(-2)[0], (1 / 4, 0)),
    "zero padding": (lambda a, _: padded(a), (1, 0)),
    "circular padding": (lambda a, _: padded(a, mode="circular"), (2, 0)),
    "one place": (lambda a, _: a[:, 0], (1 / 8, 0)),
    "mean over places": (lambda a, _: a.mean(1), (1 / 64, 0)),
    "sum over units": (lambda a, _: a.sum(-1), (1, 0)),
    "mean over places, relu": (lambda a, _: torch.relu(a).mean(1), (1 / 128, 0)),
    "copies": (lambda a, _: a.repeat_interleave(2, dim=1), (2, 0)),
    "one for all places": (lambda a, b: a.mean(1, keepdim=True) * 8 + b, (8, 1)),
    "root mean square": (norm_in_steps, (1 - 1 / 64, 0)),
    "layer norm": (lambda a, _: functional.layer_norm(3 * a, (64,)), (1 - 2 / 64, 0)),
    "even attention": (
        lambda a, b: functional.scaled_dot_product_attention(0 * a, 0 * a, b),
        (0, 1 / 8),
    ),
    "attention by hand": (lambda a, b: torch.softmax(a @ b.mT * 0, -1) @ b, (0, 1 / 8)),
}


@pytest.mark.parametrize("name", FORMS)
def test_functions_by_their_slopes(name):
    function, expected = FORMS[name]
    assert squares(function) == pytest.approx(expected, rel=0.04)


def test_a_mean_is_one_gradient_at_all_places():
    # The mean of a relu is (x, 0) or (0, x) with one gradient: summed over 8 places it is 8 times it.
    def spread(a, b):
        return (a[:, :1] + torch.zeros_like(b) + b).mean(1)

    assert squares(spread) == pytest.approx((1 / 8, 1 / 64), rel=0.04)


def test_a_mean_over_nothing_carries_no_gradient():
    """A model that averages the examples of a kind, of which the batch has none."""

    class Kinds(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            hidden = self.first(x)
            return self.last(hidden) + torch.nan_to_num(hidden[:, :0].mean())

    plan = isoinit.plan(Kinds(), torch.randn(16, 8))
    through = plan["last.weight"].std * math.sqrt(4)  # W.T times noise of size one
    assert plan["first.weight"].expected_gradient == pytest.approx(through, rel=0.05)
    assert math.isfinite(plan["last.weight"].expected)


def test_behind_a_part_written_in_place_nothing_is_known():
    class Writes(nn.Sequential):
        def forward(self, x):
            x = self[0](x).clone()
            x[:, :16].relu_()
            return self[1](x)

    plan = isoinit.plan(Writes(nn.Linear(64, 64), nn.Linear(64, 64)), torch.randn(64, 64))
    assert plan["0.weight"].expected_gradient is None
    assert plan["1.weight"].expected_gradient == 1


def test_behind_what_is_not_followed_nothing_is_known():
    class Sorts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Linear(64, 64) for _ in range(4))

        def forward(self, x):
            x = self.a(x)
            return self.d(torch.linalg.svd(self.b(x))[0]) + self.c(x)

    plan = isoinit.plan(Sorts(), torch.randn(64, 64))
    found = {e.name: e.expected_gradient for e in plan if e.name.endswith("weight")}
    assert found["c.weight"] == found["d.weight"] == 1
    assert found["a.weight"] is found["b.weight"] is None


def test_a_model_read_by_its_modules_expects_nothing():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x, y):
            return self.layer(x + y)

    assert isoinit.plan(Asks())["layer.weight"].expected_gradient is None


def stack(activation, depth, width=64, out=64):
    sizes = [width] * (depth + 1)
    layers = [
        part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), activation())
    ]
    return nn.Sequential(*layers, nn.Linear(width, out))


def test_he_keeps_the_gradient_and_lecun_halves_it():
    model, batch = stack(nn.ReLU, 9), torch.randn(64, 64)
    for method, factor in (("he", 1.0), ("lecun", 0.5)):
        plan = isoinit.plan(model, batch, method=method)
        first, last = (plan[f"{i}.weight"].expected_gradient for i in (2, 16))
        assert (first / last) ** 2 == pytest.approx(factor**7, rel=0.04)


def test_residual_branches_add_their_gradients():
    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 64)
            self.branches = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))

        def forward(self, x):
            x = self.first(x)
            for branch in self.branches:
                x = x + branch(x)
            return x

    one = isoinit.Normal(std=1 / 8)  # each branch keeps the size
    plan = isoinit.plan(Blocks(), torch.randn(64, 64), overrides={"*.weight": one})
    assert plan["first.weight"].expected_gradient ** 2 == pytest.approx(2**6, rel=0.05)
    assert plan["branches.0.weight"].expected_gradient ** 2 == pytest.approx(2**5, rel=0.05)


def test_a_zero_branch_gets_none_and_the_skip_all():
    model = vision.ResNet50()
    plan = isoinit.plan(model, torch.randn(8, 3, 32, 32))
    assert plan["layer1.1.conv1.weight"].expected_gradient == 0
    assert plan["conv1.weight"].expected_gradient > 0


# ---------------------------------------------------------------- measured


def measured(model, batch, seeds):
    """Expected and measured root mean squares of gradients, by layer."""
    plan = isoinit.plan(model, batch)
    found = {}
    for seed in range(seeds):
        plan.apply(model, seed)
        noise = torch.Generator().manual_seed(seed)

        def loss(out, noise=noise):
            ends = [t for t in tensors_in(out) if t.requires_grad]
            return sum((t * torch.randn(t.shape, generator=noise)).sum() for t in ends)

        for layer in isoinit.check(model, batch, loss=loss).layers:
            found.setdefault(layer.name, []).append(layer.gradient**2)
    names = {name: f"{name}.weight" if f"{name}.weight" in plan else name for name in found}
    return {
        name: (plan[names[name]].expected_gradient, math.sqrt(sum(found[name]) / len(found[name])))
        for name in found
    }


class Recurrent(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self, kind, last):
        super().__init__()
        self.first, self.layer, self.head = nn.Linear(16, 64), kind(64, 64), nn.Linear(64, 32)
        self.last = last

    def forward(self, x):
        states = self.layer(self.first(x))[0]
        return self.head(states[-1] if self.last else states)


class Attends(nn.Module):
    """Torch's own multi-head attention of one signal to another."""

    def __init__(self):
        super().__init__()
        self.first, self.other = nn.Linear(64, 64), nn.Linear(64, 64)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, x, y):
        x, y = self.first(x), self.other(y)
        return self.attention(x, y, y)[0]


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 32),
    )


TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
MODELS = {
    "tanh": (lambda: stack(nn.Tanh, 8), lambda: torch.randn(64, 64), 0.1),
    "mirrored gelu": (lambda: stack(nn.GELU, 16), lambda: torch.randn(64, 64), 0.1),
    "convolutional": (convolutional, lambda: torch.randn(8, 3, 16, 16), 0.15),
    "LSTM": (lambda: Recurrent(nn.LSTM, False), lambda: torch.randn(12, 16, 16), 0.15),
    "GRU, last": (lambda: Recurrent(nn.GRU, True), lambda: torch.randn(12, 16, 16), 0.15),
    "RNN": (lambda: Recurrent(nn.RNN, False), lambda: torch.randn(12, 16, 16), 0.15),
    "cross attention": (Attends, lambda: (torch.randn(8, 12, 64), torch.randn(8, 24, 64)), 0.25),
    "Llama": (
        lambda: LlamaForCausalLM(LlamaConfig(vocab_size=256, num_key_value_heads=2, **TINY)),
        lambda: {"input_ids": torch.randint(0, 256, (4, 16))},
        0.2,
    ),
    "ViT": (
        lambda: ViTModel(ViTConfig(image_size=16, patch_size=4, **TINY)),
        lambda: {"pixel_values": torch.randn(8, 3, 16, 16)},
        0.2,
    ),
    "MobileNetV2": (vision.MobileNetV2, lambda: torch.randn(8, 3, 32, 32), 0.25),
    "SIREN": (generative.Siren, lambda: torch.rand(256, 2), 0.2),
    "experts": (odd.Expert, lambda: torch.randn(64, 8), 0.3),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_expected_is_measured(name):
    build, make, within = MODELS[name]
    torch.manual_seed(0)
    model, batch = build(), make()
    for layer, (expected, found) in measured(model, batch, seeds=12).items():
        if math.isnan(found):
            assert expected == 0, layer
        else:
            assert expected == pytest.approx(found, rel=within), layer
