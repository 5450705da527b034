"""The gate of a highway layer starts open for what the layer was given, in each spelling."""

import pytest
import torch
from torch import nn

import isoinit


class Highway(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way, self.first, self.last = way, nn.Linear(8, 16), nn.Linear(16, 3)
        self.gates = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.works = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        x = self.first(x)
        for gate, work in zip(self.gates, self.works, strict=True):
            g, h = torch.sigmoid(gate(x)), torch.relu(work(x))
            if self.way == "transform":
                x = g * h + (1 - g) * x
            elif self.way == "carry first":
                x = x * (1.0 - g) + h * g
            elif self.way == "carry":
                x = g * x + (1 - g) * h
            elif self.way == "difference":
                x = x + g * (h - x)
            else:
                x = g * h + (1 - g) * h.tanh()  # no skip: two things that the layer makes
        return self.last(x)


@pytest.mark.parametrize(
    ("way", "bias"),
    [("transform", -2), ("carry first", -2), ("carry", 2), ("difference", -2), ("two works", 0)],
)
def test_the_gate_starts_open_for_what_the_layer_was_given(way, bias):
    plan = isoinit.plan(Highway(way), torch.randn(4, 8))
    for i in range(3):
        initializer = plan[f"gates.{i}.bias"].initializer
        assert initializer == (isoinit.Constant(bias) if bias else isoinit.Zeros())
        assert plan[f"works.{i}.bias"].std == 0
    assert ("Srivastava" in plan["gates.0.bias"].source) == bool(bias)


def test_a_gate_of_a_loop_over_time_is_none():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.update, self.new = nn.Linear(12, 8), nn.Linear(12, 8)

        def forward(self, x):
            state = torch.zeros(x.shape[0], 8)
            for step in x.unbind(1):
                both = torch.cat([step, state], -1)
                z = torch.sigmoid(self.update(both))
                state = z * state + (1 - z) * torch.tanh(self.new(both))
            return state

    plan = isoinit.plan(Unit(), torch.randn(3, 5, 4))
    assert plan["update.bias"].initializer == isoinit.Zeros()
