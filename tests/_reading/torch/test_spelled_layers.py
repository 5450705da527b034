"""Layers that are written out in steps, in spellings that other libraries use."""

import torch
from torch import nn

import isoinit


class Recurrent(nn.Module):
    """A loop over time; its kernels are (in, gates·units), its bias is added for all steps at once."""

    def __init__(self, gates, rehearsed=False):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, gates * 16))
        self.recurrent = nn.Parameter(torch.randn(16, gates * 16))
        self.bias = nn.Parameter(torch.zeros(gates * 16))
        self.out = nn.Linear(16, 4)
        self.gates, self.rehearsed = gates, rehearsed

    def step(self, x, h, c):
        z = x + h @ self.recurrent
        if self.gates == 1:
            return torch.tanh(z), c
        i, f, g, o = (part.to(z.dtype) for part in torch.chunk(z, 4, 1))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, x):
        fed = x @ self.kernel + self.bias
        h = c = torch.zeros(x.shape[0], 16)
        if self.rehearsed:
            self.step(fed[:, 0], h, c)  # to learn the shape of a state
        for t in range(x.shape[1]):
            h, c = self.step(fed[:, t], h, c)
        return self.out(h)


STEPS = torch.randn(4, 6, 8)


def test_a_forget_gate_whose_bias_is_added_for_all_steps_at_once():
    plan = isoinit.plan(Recurrent(4), STEPS, keep="nothing")
    assert plan["recurrent"].role == "recurrent weight"
    assert plan["recurrent"].layout.maps_shape == (4, 16, 16, 1)
    model = Recurrent(4)
    plan.apply(model, seed=0)
    assert model.bias.reshape(4, 16).mean(1).tolist() == [0, 1, 0, 0]  # Jozefowicz et al. 2015
    for gate in model.recurrent.detach().reshape(16, 4, 16).unbind(1):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)


def test_a_loop_that_makes_one_step_for_its_shape_and_begins_anew():
    plan = isoinit.plan(Recurrent(1, rehearsed=True), STEPS, keep="nothing")
    assert plan["recurrent"].role == "recurrent weight"
    assert plan["recurrent"].layout.maps_shape == (1, 16, 16, 1)


class Heads(nn.Module):
    """A projection to (heads, width), with a bias of that shape: nothing tells places apart."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(8, 4, 6))
        self.bias = nn.Parameter(torch.zeros(4, 6))
        self.down = nn.Parameter(torch.randn(4, 6, 8))
        self.places = nn.Parameter(torch.randn(5, 8))

    def forward(self, x):
        heads = torch.einsum("bti,ihd->bthd", x + self.places, self.up).to(x.dtype) + self.bias
        return torch.einsum("bthd,hdo->bto", torch.relu(heads), self.down)


def test_a_bias_with_the_shape_of_the_outputs_is_no_table_of_places():
    plan = isoinit.plan(Heads(), torch.randn(3, 5, 8), keep="nothing")
    assert plan["bias"].role == "bias"
    assert plan["bias"].initializer == isoinit.Zeros()
    assert plan["places"].role == "position"
