"""Tensors made of parameters: made again from arrays they are what the model makes."""

import numpy as np
import pytest
import torch
from torch import nn

from isoinit._reading.torch import trace


class Makes(nn.Module):
    def __init__(self, make, *shapes):
        super().__init__()
        self.ps = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)
        self.make = make
        self.register_buffer("mask", torch.rand(6, 6) < 0.5)

    def forward(self, x):
        return nn.functional.linear(x, self.make(self, *self.ps))


def written_into(target, below, diagonal):
    target[np.tril_indices(6, -1)] = below
    target[range(6), range(6)] = diagonal
    return target


CASES = {
    "a chain": (lambda m, w: (w * 2).T.tanh() - 1, (6, 6)),
    "shared steps": (lambda m, w: (w - w.mean()) / (w.std() + w.abs().max()), (6, 6)),
    "several results": (lambda m, w: torch.cat(w.chunk(3)[::-1]) * w.max(0).values, (6, 6)),
    "a buffer": (lambda m, w: torch.where(m.mask, w, 2 * w), (6, 6)),
    "in place": (lambda m, w: w.clone().mul_(3).add_(1), (6, 6)),
    "written into": (
        lambda m, below, diagonal: written_into(torch.zeros(6, 6), below, diagonal),
        (15,),
        (6,),
    ),
    "two": (lambda m, a, b: a @ b + a.sum(), (6, 2), (2, 6)),
    "a norm function": (
        lambda m, w, g, b: nn.functional.layer_norm(w, (6,), g, b).reshape(36)[:36].view(6, 6),
        (6, 6),
        (6,),
        (6,),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_made_again_it_is_the_same(name):
    torch.manual_seed(0)
    model = Makes(*CASES[name])
    graph = trace(model, torch.randn(2, 6))
    made = graph.uses_of("ps.0")[0][1].made
    values = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    right = model.make(model, *model.ps).detach().numpy()
    for _ in range(2):  # the first leaves what the second reads as it was
        again = made.replay([values[part.parameter] for part in made.parts])
        assert np.allclose(again, right, atol=1e-6)


def test_random_steps_leave_the_generator_alone():
    model = Makes(lambda m, w: nn.functional.dropout(w, 0.5), (6, 6))
    made = trace(model, torch.randn(2, 6)).uses_of("ps.0")[0][1].made
    before = torch.get_rng_state()
    first, second = (made.replay([np.ones((6, 6))]) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert (first == second).all()


def test_equal_ways_have_equal_keys():
    def key(make):
        return trace(Makes(make, (6, 6)), torch.randn(2, 6)).uses_of("ps.0")[0][1].made.key

    double = key(lambda m, w: w * 2)
    assert double == key(lambda m, w: w * 2)
    assert double != key(lambda m, w: w * 3)


def test_what_is_not_known_is_said():
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(6, 6))

        def forward(self, x):
            many = torch.arange(1.0, (1 << 20) + 2)
            return nn.functional.linear(x, self.w * many[:36].view(6, 6))

    made = trace(Foreign(), torch.randn(2, 6)).uses_of("w")[0][1].made
    assert made.replay is None
    assert made.reason.startswith(
        "mul reads a tensor that cannot be made again (a constant tensor of"
    )


def test_a_mask_that_a_table_of_biases_is_joined_with_is_read_on_fake_tensors():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.q = nn.Parameter(torch.zeros(4, 4)), nn.Linear(8, 8)

        def forward(self, x):
            mask = torch.full((4, 4), -1e9).triu(1)
            scores = self.q(x) @ x.mT + (self.bias + mask)
            return scores.softmax(-1) @ x

    graph = trace(Masked(), torch.randn(2, 4, 8))
    assert graph.how == "fake"
    assert graph.uses_of("bias")[0][1].slot == "position"


KINDS = {
    "a gain": (lambda m, w, g: w * g, (6, 6), (6, 1), "scale"),
    "divided by": (lambda m, w, g: w / g, (6, 6), (6, 1), "scale"),
    "an offset": (lambda m, w, g: w + g, (6, 6), (6, 1), "shift"),
    "a factor": (lambda m, w, g: w * g, (6, 6), (6, 6), "weight"),
    "a coefficient": (lambda m, w, g: torch.einsum("k,kio->io", g, w), (3, 6, 6), (3,), "weight"),
    "its own mean": (lambda m, w, g: (w - w.mean(1, keepdim=True)) * g, (6, 6), (1,), "scale"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_parameter_is_to_what_is_made_of_it(name):
    make, *shapes, kind = KINDS[name]
    graph = trace(Makes(make, *shapes), torch.randn(2, 6))
    assert graph.uses_of("ps.0")[0][1].kind == "weight"
    assert graph.uses_of("ps.1")[0][1].kind == kind


@pytest.mark.parametrize(
    ("gain", "neutral"),
    [
        (lambda g: g, 1.0),
        (lambda g: 0.05 * g, 1.0),
        (lambda g: 1 + g, 0.0),
        (lambda g: g.exp(), 0.0),
        (lambda g: nn.functional.softplus(g), float(np.log(np.e - 1))),
        (lambda g: g.sigmoid(), None),
    ],
    ids=["g", "0.05 g", "1 + g", "exp", "softplus", "sigmoid"],
)
def test_where_a_gain_does_nothing(gain, neutral):
    model = Makes(lambda m, w, g: nn.functional.normalize(w) * gain(g), (6, 6), (6, 1))
    use = trace(model, torch.randn(2, 6)).uses_of("ps.1")[0][1]
    assert use.neutral == (neutral if neutral is None else pytest.approx(neutral, abs=1e-8))
