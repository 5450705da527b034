"""Weights that the forward makes of parameters: what multiplies the signal has the std of its role."""

import math

import pytest
import torch
from torch import nn

import isoinit

F = nn.functional
N = 64
STD = 1 / math.sqrt(N)  # what a weight of N inputs of unit size has
HALF = torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.5
TURN = torch.linalg.qr(torch.randn(N, N, generator=torch.Generator().manual_seed(1)))[0]


class Made(nn.Module):
    """A linear layer whose weight is made of parameters."""

    def __init__(self, make, *shapes):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.ps = nn.ParameterList(
            nn.Parameter(s if isinstance(s, torch.Tensor) else torch.randn(s, generator=g))
            for s in shapes
        )
        self.make = make
        self.register_buffer("dropped", HALF)
        self.register_buffer("turned", (torch.arange(N)[:, None] - torch.arange(N)) % N)

    def weight(self):
        return self.make(self, *self.ps)

    def forward(self, x):
        return F.linear(x, self.weight())


def standardized(w):
    return (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-5)


SQUARE = (N, N)
GAIN = torch.ones(N, 1)
SOLVED = {
    "times a number": (lambda m, w: w * 0.00125, SQUARE),
    "divided": (lambda m, w: w / 8, SQUARE),
    "transposed": (lambda m, w: (w * 3).T, SQUARE),
    "a mask": (lambda m, w: w * m.dropped, SQUARE),
    "filled where masked": (lambda m, w: w.masked_fill(m.dropped, 0.0), SQUARE),
    "a triangle": (lambda m, w: w.triu(), SQUARE),
    "symmetric": (lambda m, w: w + w.T, SQUARE),
    "the exponential of skew": (lambda m, w: torch.matrix_exp(w - w.T), SQUARE),
    "standardized": (lambda m, w: standardized(w) / 8, SQUARE),
    "standardized, with a gain": (lambda m, w, g: standardized(w) * g / 8, SQUARE, GAIN),
    "layer norm, with a gain": (lambda m, w, g: F.layer_norm(w, (N,)) * (g * 0.125), SQUARE, GAIN),
    "normalized": (lambda m, v, g: g * v / v.norm(dim=1, keepdim=True), SQUARE, GAIN),
    "normalized, exp gain": (lambda m, v, g: F.normalize(v) * g.exp(), SQUARE, torch.zeros(N, 1)),
    "demodulated": (lambda m, w: w * torch.rsqrt((w**2).sum(1, keepdim=True) + 1e-8), SQUARE),
    "tanh": (lambda m, w: w.tanh(), SQUARE),
    "a signed square": (lambda m, w: w * w.abs(), SQUARE),
    "absolute": (lambda m, w: w.abs(), SQUARE),
    "rounded": (lambda m, w: w + (torch.round(w * 8) / 8 - w).detach(), SQUARE),
    "a sum": (lambda m, u, v: u + v, SQUARE, SQUARE),
    "a product of elements": (lambda m, u, v: u * v, SQUARE, SQUARE),
    "low rank": (lambda m, a, b: (a @ b) * 0.01, (N, 8), (8, N)),
    "low rank beside a weight": (lambda m, w, a, b: w + 2 * (b @ a), SQUARE, (4, N), (N, 4)),
    "a basis": (lambda m, b, c: torch.einsum("rk,kio->rio", c, b).sum(0), (6, N, N), (3, 6)),
    "a basis by tensordot": (lambda m, b, c: torch.tensordot(c, b, dims=1), (40, N, N), (40,)),
    "Kronecker": (lambda m, a, b: torch.kron(a, b), (8, 8), (8, 8)),
    "circulant": (lambda m, w: w[m.turned], (N,)),
    "stored flat": (lambda m, w: w.view(N, N), (N * N,)),
    "stored flat, scaled": (lambda m, w: w.view(N, N) * 0.1, (N * N,)),
    "cut out": (lambda m, w: w[: N * N].view(N, N) * 0.5, (N * N + 7,)),
    "one plus a gain": (lambda m, w, g: w * (1 + g), SQUARE, torch.zeros(N, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVED)
def test_what_multiplies_the_signal_has_the_std_of_its_role(name):
    model = nn.Sequential(Made(*SOLVED[name]))
    x = torch.randn(256, N, generator=torch.Generator().manual_seed(3))
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    assert not plan.warnings
    weight = model[0].weight().detach()
    # An std of 64 elements is within 4 / sqrt(2 · 64) = 35 % of its own but once in 16,000 draws, one
    # of 4,096 within 5 %; squares of normal numbers spread twice as much.
    few = min(p.numel() for p in model.parameters() if p.std() > 0)
    chance = 4 / math.sqrt(2 * few) + 0.06
    assert weight.square().mean().sqrt() == pytest.approx(STD, rel=chance)
    entry = next(entry for entry in plan if "weight" in entry.role)
    out = model(x).detach().square().mean().sqrt().item()
    assert entry.expected == pytest.approx(out, rel=chance + 0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda m, w: w.exp(),
        lambda m, w: F.softplus(w),
        lambda m, w: w.clamp(-0.05, 0.05),
    ],
    ids=["exp", "softplus", "clamp"],
)
def test_what_no_scale_gives_is_left_and_named(make):
    model = nn.Sequential(Made(make, SQUARE))
    plan = isoinit.plan(model, torch.randn(8, N))
    assert plan["0.ps.0"].initializer is None
    assert [w for w in plan.warnings if "'0.ps.0'" in w and "size is between" in w]


def test_a_scaled_weight_stays_orthogonal():
    layers = [layer for _ in range(14) for layer in (Made(lambda m, w: w / 8, SQUARE), nn.Tanh())]
    model = nn.Sequential(*layers)
    isoinit.init(model, torch.randn(8, N), seed=0)
    weight = model[4].weight().detach()
    square = weight @ weight.T
    assert torch.allclose(square, square[0, 0] * torch.eye(N), atol=1e-5)


def test_a_scaled_weight_is_mirrored_as_a_plain_one():
    x = torch.randn(64, N, generator=torch.Generator().manual_seed(3))
    made = [layer for _ in range(16) for layer in (Made(lambda m, w: w / 8, SQUARE), nn.ReLU())]
    plain = [layer for _ in range(16) for layer in (nn.Linear(N, N, bias=False), nn.ReLU())]
    plan, known = (isoinit.plan(nn.Sequential(*layers), x) for layers in (made, plain))
    entry = plan["8.ps.0"]
    assert entry.initializer == known["8.weight"].initializer.scaled(8)
    assert entry.expected == pytest.approx(known["8.weight"].expected, rel=1e-3)


def test_the_gain_of_a_normalized_weight_is_one_whatever_stands_beside_it():
    model = nn.Sequential(Made(lambda m, w, g: standardized(w) * (g * 0.05), SQUARE, GAIN))
    plan = isoinit.plan(model, torch.randn(256, N))
    assert plan["0.ps.1"].initializer == isoinit.Ones()
    # The constant makes rows of std 0.05, and the plan expects that: 0.05 · sqrt(64).
    assert plan["0.ps.0"].expected == pytest.approx(0.4, rel=0.05)


def test_an_adapter_that_is_merged_starts_at_zero():
    make = SOLVED["low rank beside a weight"]
    plan = isoinit.plan(nn.Sequential(Made(*make)), torch.randn(8, N))
    reads, writes = plan["0.ps.1"], plan["0.ps.2"]
    assert (reads.rule, writes.rule) == ("adapter in", "adapter out")
    assert writes.initializer == isoinit.Zeros()


def test_centred_rows_lose_what_all_inputs_share():
    """Behind a ReLU a row that sums to zero sees the variance alone: 1/2 - 1/(2π), not 1/2."""
    layer = Made(lambda m, w: standardized(w) * math.sqrt(2) / 8, SQUARE)
    model = nn.Sequential(nn.Linear(N, N), nn.ReLU(), layer)
    x = torch.randn(1024, N, generator=torch.Generator().manual_seed(3))
    plan = isoinit.plan(model, x)
    assert plan["2.ps.0"].expected == pytest.approx(math.sqrt(1 - 1 / math.pi), rel=0.03)
    out = plan.apply(model, seed=0)(x).detach().square().mean().sqrt()
    assert out == pytest.approx(math.sqrt(1 - 1 / math.pi), rel=0.1)


@pytest.mark.parametrize("name", SOLVED)
def test_a_weight_that_is_to_be_zero_is_zero_or_its_parameters_are_named(name):
    model = nn.Sequential(Made(*SOLVED[name]))
    plan = isoinit.plan(model, torch.randn(8, N), method="zero")
    plan.apply(model, seed=0)
    left = [e.name for e in plan if e.initializer is None]
    assert all(any(repr(name) in warning for warning in plan.warnings) for name in left)
    never = {"the exponential of skew", "normalized", "normalized, exp gain", "demodulated"}
    assert bool(left) <= (name in never)
    assert name in never or not model[0].weight().any()
    assert model[0].weight().isfinite().all()


class MaskedFlow(nn.Module):
    """Columns scaled and shifted by what two masked layers make of those before."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(N, N), nn.Linear(N, 2 * N)
        self.register_buffer("before", torch.ones(N, N).tril(-1))

    def forward(self, x):
        h = F.linear(x, self.first.weight * self.before, self.first.bias).relu()
        masked = self.last.weight * self.before.repeat(2, 1)
        shift, scale = F.linear(h, masked, self.last.bias).chunk(2, 1)
        return (x - shift) * torch.exp(-scale), -scale.sum(1)


def test_masked_weights_that_scale_another_signal_are_zero():
    plan = isoinit.plan(MaskedFlow(), torch.randn(8, N))
    assert plan["last.weight"].rule == "modulation"
    assert plan["last.weight"].initializer == isoinit.Zeros()
