"""Parts that lie side by side, against closed forms and against torch's own LSTM."""

import math

import pytest
import torch
from torch import nn

import isoinit
from unit_signal import second


def louder(a, b):
    return torch.cat([3 * a, b], -1)


# E[f²] by hand, for independent standard normal a and b: what is left of 3a alone.
APART = {
    "halves": (lambda a, b: louder(a, b).chunk(2, -1)[0], 9.0),
    "a quarter": (lambda a, b: louder(a, b).chunk(4, -1)[1].repeat(1, 1, 2), 9.0),
    "behind a relu": (lambda a, b: torch.relu(louder(a, b)).chunk(2, -1)[0], 9 / 2),
    "with another": (
        lambda a, b: (louder(a, b) + torch.cat([b, a], -1).roll(1, 0)).chunk(2, -1)[0],
        10.0,
    ),
    "along an axis of their own": (
        lambda a, b: louder(a, b).unflatten(-1, (2, 64)).unbind(-2)[0],
        9.0,
    ),
    "turned": (lambda a, b: louder(a, b).transpose(1, 2).chunk(2, 1)[0].transpose(1, 2), 9.0),
    "at one place": (lambda a, b: louder(a, b)[:, 3].chunk(2, -1)[0], 9.0),
    "in a product": (lambda a, b: math.prod(louder(a, b).chunk(2, -1)), 9.0),
}


@pytest.mark.parametrize("name", APART)
def test_what_was_joined_is_taken_apart(name):
    function, expected = APART[name]
    assert second(function) == pytest.approx(expected, rel=0.02)


def test_a_part_across_two_is_measured():
    middle = second(lambda a, b: louder(a, b).split([32, 64, 32], -1)[1])
    assert middle == pytest.approx(5, rel=0.02)


class Written(nn.Module):
    """An LSTM whose gates are one matrix, and one bias of which is the forget gate's."""

    def __init__(self, inputs=24, width=32, *, early=False):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, 4 * width))
        self.recurrent = nn.Parameter(torch.randn(width, 4 * width))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        self.last, self.width, self.early = nn.Linear(width, 5), width, early

    def forward(self, x):
        hidden = cell = x.new_zeros(len(x), self.width)
        all_steps = x @ self.kernel + self.bias if self.early else None
        for step in range(x.shape[1]):
            if all_steps is None:
                gates = x[:, step] @ self.kernel + hidden @ self.recurrent + self.bias
            else:
                gates = all_steps[:, step] + hidden @ self.recurrent
            into, forget, new, out = gates.chunk(4, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
        return self.last(hidden)


class Own(nn.Module):
    def __init__(self, inputs=24, width=32):
        super().__init__()
        self.lstm, self.last = nn.LSTM(inputs, width, batch_first=True), nn.Linear(width, 5)

    def forward(self, x):
        return self.last(self.lstm(x)[1][0][0])


@pytest.mark.parametrize("early", [False, True], ids=["each step", "all steps at once"])
def test_a_written_out_lstm_opens_its_forget_gate_alone(early):
    x = torch.randn(32, 12, 24, generator=torch.Generator().manual_seed(0))
    model = Written(early=early)
    plan = isoinit.plan(model, x)
    assert plan["bias"].initializer == isoinit.GateBias()
    sizes = []
    for seed in range(8):
        plan.apply(model, seed)
        sizes.append(model(x).square().mean().item())
    root = math.sqrt(sum(sizes) / len(sizes))
    own = isoinit.plan(Own(), x)  # followed by another way, in closed time
    assert plan["last.weight"].expected == pytest.approx(root, rel=0.1)  # the forget gate shut: 0.6
    assert plan["last.weight"].std == pytest.approx(own["last.weight"].std, rel=0.1)
