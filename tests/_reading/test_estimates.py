"""Which layers give an output that is compared with numbers, by the form of that output."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from isoinit._reading.roles import read_roles
from isoinit._reading.torch import structure, trace
from zoo import generative, odd, vision


def estimates(model, batch):
    """The weights that give an estimate."""
    roles = read_roles(trace(model, batch), lambda: structure(model))
    return {name for name, role in roles.items() if role.estimate}


def mlp(*sizes):
    pairs = itertools.pairwise(sizes)
    layers = [part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Applied(nn.Module):
    """A forward as a function of the module's parts and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.applied = forward

    def forward(self, *x):
        return self.applied(self, *x)


def denoiser(m, x, t):
    """A noise of the form of the picture, which is told the time."""
    return m.last(functional.silu(m.first(x) + m.time(t)[:, :, None, None]))


NOISE = {"first": nn.Conv2d(3, 8, 3, padding=1), "time": nn.Linear(5, 8)}
LAST = nn.Conv2d(8, 3, 3, padding=1)
IMAGE = torch.randn(2, 3, 8, 8)


def flow(m, x):
    """The gradient of a Hamiltonian, turned (Greydanus et al. 2019)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(m.net(x).sum(), x, create_graph=True)
    return torch.cat([slope[:, 2:], -slope[:, :2]], 1)


def energy(m, atoms):
    return m.net(atoms).squeeze(-1).sum(1)


def pooled(m, x):
    """A mean over places, weighed by one number each."""
    return m.out((m.net(x) * x).mean(1))


YES = {
    "a Hamiltonian": (Applied(flow, net=mlp(4, 16, 1)), torch.randn(5, 4), "net.2.weight"),
    "an energy": (Applied(energy, net=mlp(6, 16, 1)), torch.randn(5, 9, 6), "net.2.weight"),
    "autoencoder": (mlp(16, 4, 16), torch.randn(5, 16), "2.weight"),
    "deep autoencoder": (mlp(16, 8, 4, 8, 16), torch.randn(5, 16), "6.weight"),
    "VAE": (generative.VAE(), torch.rand(4, 64), "out.weight"),
    "denoiser": (Applied(denoiser, **NOISE, last=LAST), (IMAGE, torch.randn(2, 5)), "last.weight"),
    "diffusion U-Net": (generative.DiffusionUNet(), (IMAGE, torch.rand(2)), "last.weight"),
    "sequence to sequence": (mlp(6, 32, 6), torch.randn(3, 9, 6), "2.weight"),
    "coordinates, one": (mlp(1, 32, 1), torch.rand(64, 1), "2.weight"),
    "coordinates, two to three": (mlp(2, 32, 32, 3), torch.rand(64, 2), "4.weight"),
    "coordinates and time": (
        Applied(lambda m, x, t: m.net(torch.cat([x, t], -1)), net=mlp(3, 32, 1)),
        (torch.rand(64, 2), torch.rand(64, 1)),
        "net.2.weight",
    ),
    "pictures, flattened and back": (
        nn.Sequential(nn.Flatten(), mlp(192, 16, 192), nn.Unflatten(1, (3, 8, 8))),
        IMAGE,
        "1.2.weight",
    ),
    "one number of many": (mlp(16, 32, 1), torch.randn(5, 16), "2.weight"),
    "one number at each place": (mlp(5, 32, 1), torch.randn(5, 8, 5), "2.weight"),
    "its own loss": (
        Applied(lambda m, x, y: functional.mse_loss(m.net(x), y), net=mlp(16, 32, 4)),
        (torch.randn(5, 16), torch.randn(5, 4)),
        "net.2.weight",
    ),
}


@pytest.mark.parametrize("name", YES)
def test_outputs_of_the_form_of_an_input_and_functions_of_coordinates(name):
    model, batch, expected = YES[name]
    assert estimates(model, batch) == {expected}


def last_state(m, x):
    return m.head(m.rnn(x)[0][:, -1])


def with_noise(m, x):
    """Dropout by hand: what is drawn has the form of the output, and is no input."""
    h = m.first(x).relu()
    return m.last(h * (torch.rand_like(h) > 0.5))


def on_a_table(m, x):
    """A constant of the form of the output, made on the way."""
    return m.last(m.first(x).relu() + torch.linspace(0, 1, 50).reshape(5, 10))


class Buffered(nn.Module):
    """A layer reads a buffer of the form of the output."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 10), nn.Linear(10, 10)
        self.code = nn.Linear(10, 10)
        self.register_buffer("places", torch.randn(5, 10))

    def forward(self, x):
        return self.last((self.first(x) + self.code(self.places)).relu())


TEN = {"first": nn.Linear(16, 10), "last": nn.Linear(10, 10)}
NO = {
    "points of a set, pooled": (
        Applied(
            lambda m, x: m.all(m.each(x).amax(0, keepdim=True)),
            each=mlp(3, 16, 16),
            all=mlp(16, 32, 5),
        ),
        torch.randn(12, 3),
    ),
    "weights of a mean": (
        Applied(pooled, net=mlp(6, 16, 1), out=nn.Linear(6, 3)),
        torch.randn(5, 9, 6),
    ),
    "classifier": (mlp(16, 32, 10), torch.randn(5, 16)),
    "classifier of pictures": (vision.ResNet50(), torch.randn(2, 3, 32, 32)),
    "few classes": (mlp(16, 32, 2), torch.randn(5, 16)),
    "its own loss": (
        Applied(lambda m, x, y: functional.cross_entropy(m.net(x), y), net=mlp(16, 32, 16)),
        (torch.randn(5, 16), torch.arange(5)),
    ),
    "LSTM language model": (odd.LanguageModel(), torch.randint(50, (2, 7))),
    "LSTM language model of three tokens": (odd.LanguageModel(), torch.randint(50, (2, 3))),
    "masked language model": (
        Applied(
            lambda m, ids, seen: m.net(m.table(ids) * seen[..., None]),
            table=nn.Embedding(9, 16),
            net=mlp(16, 32, 9),
        ),
        (torch.randint(9, (2, 7)), torch.ones(2, 7)),
    ),
    "masked language model of three tokens": (
        Applied(
            lambda m, ids, seen: m.net(m.table(ids) * seen[..., None]),
            table=nn.Embedding(9, 16),
            net=mlp(16, 32, 9),
        ),
        (torch.randint(9, (2, 3)), torch.ones(2, 3)),
    ),
    "LSTM head at all steps, of which the last is taken": (
        Applied(
            lambda m, x: m.head(m.rnn(x)[0])[:, -1],
            rnn=nn.LSTM(3, 16, batch_first=True),
            head=nn.Linear(16, 3),
        ),
        torch.randn(5, 8, 3),
    ),
    "LSTM head": (
        Applied(last_state, rnn=nn.LSTM(3, 16, batch_first=True), head=nn.Linear(16, 3)),
        torch.randn(5, 8, 3),
    ),
    "three numbers at each of many places": (mlp(3, 32, 10), torch.randn(5, 8, 3)),
    "one layer alone": (nn.Linear(16, 16), torch.randn(5, 16)),
    "a function at the end": (
        nn.Sequential(*mlp(16, 4, 16), nn.Sigmoid()), torch.randn(5, 16),
    ),
    "a norm at the end": (nn.Sequential(*mlp(16, 4, 16), nn.LayerNorm(16)), torch.randn(5, 16)),
    "a residual branch": (Applied(lambda m, x: x + m.net(x), net=mlp(16, 4, 16)), torch.randn(5, 16)),
    "noise of its own": (Applied(with_noise, **TEN), torch.randn(5, 16)),
    "a constant": (Applied(on_a_table, **TEN), torch.randn(5, 16)),
    "a buffer": (Buffered(), torch.randn(5, 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", NO)
def test_classifiers_and_what_is_inside_are_none(name):
    assert estimates(*NO[name]) == set()
