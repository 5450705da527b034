"""Weights that are made of signals keep the signal's size, measured; attention is none."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit

N = 64


class Generated(nn.Module):
    """A layer whose weight another layer makes of a code."""

    def __init__(self, use, size=N * N, bias=False):
        super().__init__()
        self.code, self.make = nn.Linear(4, 16), nn.Linear(16, size, bias=bias)
        self.use = use

    def forward(self, x, c):
        return self.use(self.make(self.code(c).tanh()), x)


GENERATED = {
    "einsum": lambda w, x: torch.einsum("boi,bi->bo", w.view(-1, N, N), x),
    "bmm": lambda w, x: torch.bmm(w.view(-1, N, N), x[:, :, None]).squeeze(-1),
    "matmul": lambda w, x: (x[:, None] @ w.view(-1, N, N)).squeeze(1),
    "by hand": lambda w, x: (w.view(-1, N, N) * x[:, None]).sum(-1),
}


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_weight_counts_the_inputs_of_the_layer_that_it_serves(name):
    g = torch.Generator().manual_seed(3)
    batch = torch.randn(512, N, generator=g), torch.randn(512, 4, generator=g)
    model = Generated(GENERATED[name])
    plan = isoinit.plan(model, batch)
    usual = isoinit.plan(Generated(lambda w, x: w), batch)["make.weight"].std
    assert plan["make.weight"].std == pytest.approx(usual / math.sqrt(N), rel=1e-6)
    out = plan.apply(model, seed=0)(*batch).detach().square().mean().sqrt()
    assert out == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("name", GENERATED)
def test_a_bias_holds_what_a_generated_weight_starts_as(name):
    g = torch.Generator().manual_seed(3)
    batch = torch.randn(512, N, generator=g), torch.randn(512, 4, generator=g)
    model = Generated(GENERATED[name], bias=True)
    plan = isoinit.init(model, batch, seed=0)
    assert plan["make.weight"].initializer == isoinit.Zeros()
    assert plan["make.bias"].initializer == isoinit.Normal(std=1 / math.sqrt(N))
    assert not plan.warnings
    assert model(*batch).detach().square().mean().sqrt() == pytest.approx(1, rel=0.15)


class Network(nn.Module):
    """A network of one number, whose weights and biases layers make of a code."""

    SIZES = 1, 24, 24, 1

    def __init__(self, apart=False):
        super().__init__()
        self.trunk, self.other, self.apart = nn.Linear(4, 32), nn.Linear(4, 32), apart
        pairs = list(itertools.pairwise(self.SIZES))
        self.weights = nn.ModuleList(nn.Linear(32, a * b) for a, b in pairs)
        self.biases = nn.ModuleList(nn.Linear(32, b) for _, b in pairs)

    def forward(self, x, c):
        code = self.trunk(c).relu()
        other = self.other(c).relu() if self.apart else code
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            made = weight(code).view(len(c), self.SIZES[i], self.SIZES[i + 1])
            x = torch.baddbmm(bias(other)[:, None], x, made)
            x = x.relu() if i < 2 else x
        return x


def test_a_network_whose_weights_are_made_starts_as_one_of_its_own():
    torch.manual_seed(0)
    batch = torch.randn(16, 40, 1), torch.randn(16, 4)
    model = Network()
    plan = isoinit.init(model, batch, seed=0)
    for i, var in enumerate((1, 2 / 24, 2 / 24 / 16)):  # the last gives one number: a quarter
        assert plan[f"weights.{i}.weight"].rule == "generator"
        assert plan[f"weights.{i}.bias"].std == pytest.approx(math.sqrt(var))
        assert plan[f"biases.{i}.weight"].rule == "modulation"
        assert plan[f"biases.{i}.bias"].std == 0
    first, second = model(batch[0][:1].expand(2, -1, -1), batch[1][:2]).detach()
    assert torch.equal(first, second)  # for any code


def test_a_bias_of_another_source_is_no_generated_one():
    plan = isoinit.plan(Network(apart=True), (torch.randn(16, 40, 1), torch.randn(16, 4)))
    assert all(plan[f"biases.{i}.weight"].std > 0 for i in range(3))


class Kernels(nn.Module):
    """Convolutions whose kernels one network makes of a vector for each (Ha et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.codes, self.make = nn.Parameter(torch.randn(2, 8)), nn.Linear(8, 16 * 16 * 9)
        self.enter = nn.Conv2d(3, 16, 3)

    def forward(self, x):
        x = self.enter(x).relu()
        for code in self.codes:
            x = functional.conv2d(x, self.make(code).view(16, 16, 3, 3)).relu()
        return x


def test_kernels_that_are_made_start_as_kernels():
    plan = isoinit.plan(Kernels(), torch.randn(2, 3, 12, 12))
    assert plan["make.weight"].std == 0
    assert plan["make.bias"].std == pytest.approx(math.sqrt(2 / 144))


class Edges(nn.Module):
    """What edges know makes the weights that their messages go through (Gilmer et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.code, self.make = nn.Linear(5, 32), nn.Linear(32, N * N)

    def forward(self, x, edges):
        weights = self.make(self.code(edges).relu()).view(*edges.shape[:2], N, N)
        return torch.einsum("ijab,jb->ia", weights, x)


def test_weights_that_edges_make_count_the_neighbours():
    plan = isoinit.plan(Edges(), (torch.randn(6, N), torch.randn(6, 6, 5)))
    assert plan["make.weight"].std == 0
    assert plan["make.bias"].std == pytest.approx(1 / math.sqrt(6 * N))


class Aligned(nn.Module):
    """A matrix that turns points, made of all of them, and the identity (Qi et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.make, self.out = nn.Linear(3 * 40, 9), nn.Linear(3, N)

    def forward(self, points):
        turn = self.make(points.flatten(1)).view(-1, 3, 3) + torch.eye(3)
        return self.out(torch.bmm(points, turn))


def test_a_matrix_beside_the_identity_starts_as_the_identity():
    model, points = Aligned(), torch.randn(8, 40, 3)
    plan = isoinit.init(model, points, seed=0)
    assert plan["make.weight"].std == plan["make.bias"].std == 0
    assert torch.equal(model(points), model.out(points))


class ScoresWithBias(nn.Module):
    """Scores of attention, and what is added to them from the queries' source."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.shift = (nn.Linear(N, N) for _ in range(3))

    def forward(self, x):
        return (self.query(x) @ self.key(x).mT + self.shift(x)).softmax(-1)


def test_what_is_added_to_scores_is_no_generated_bias():
    plan = isoinit.plan(ScoresWithBias(), torch.randn(8, N, N))
    assert all(plan[f"{name}.weight"].std > 0 for name in ("query", "key", "shift"))


class Rooted(nn.Module):
    """A graph convolution: what neighbours give, and a layer of the node itself."""

    def __init__(self):
        super().__init__()
        self.near, self.root = nn.Linear(N, N), nn.Linear(N, N)

    def forward(self, x, adjacency):
        return adjacency @ self.near(x) + self.root(x)


def test_a_layer_beside_what_neighbours_give_is_no_generated_bias():
    plan = isoinit.plan(Rooted(), (torch.randn(9, N), torch.rand(9, 9)))
    assert plan["near.weight"].std > 0
    assert plan["root.weight"].std > 0


class Attention(nn.Module):
    """Attention of four heads, spelled out."""

    def __init__(self, scores):
        super().__init__()
        self.q, self.k = nn.Linear(N, N), nn.Linear(N, N)
        self.scores = scores

    def forward(self, x):
        q, k = (layer(x).view(*x.shape[:2], 4, N // 4) for layer in (self.q, self.k))
        return (self.scores(q, k) / 4).softmax(-1) @ x[:, None]


def folded(x):
    return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


SCORES = {
    "matmul": lambda q, k: q.transpose(1, 2) @ k.permute(0, 2, 3, 1),
    "einsum": lambda q, k: torch.einsum("bthd,bshd->bhts", q, k),
    "bmm": lambda q, k: torch.bmm(folded(q), folded(k).mT).view(-1, 4, q.shape[1], q.shape[1]),
    "by hand": lambda q, k: (q.transpose(1, 2)[:, :, :, None] * k.transpose(1, 2)[:, :, None]).sum(
        4
    ),
    "one head": lambda q, k: (q.flatten(2) @ k.flatten(2).mT)[:, None] / 2,
}


@pytest.mark.parametrize("name", SCORES)
def test_queries_and_keys_are_no_generated_weights(name):
    plan = isoinit.plan(Attention(SCORES[name]), torch.randn(2, 5, N))
    assert {entry.rule for entry in plan} == {"unit signal", "bias"}


def kernels(w, x):
    """Return a convolution with a kernel of each example's own."""
    images = x.view(1, -1, 4, 4)
    kernel = w.view(-1, N // 16, 3, 3)
    return functional.conv2d(images, kernel, padding=1, groups=len(x)).view(len(x), -1, 4, 4)


def test_generated_kernels_count_the_taps_that_fall_on_the_image():
    """Of 9 taps of 4 channels on a map of 4 × 4, 100 of 144 fall on the image."""
    x, c = torch.randn(64, N), torch.randn(64, 4)
    model = Generated(kernels, 8 * 9 * N // 16)
    usual = isoinit.plan(Generated(lambda w, x: w, 8 * 9 * N // 16), (x, c))["make.weight"].std
    plan = isoinit.plan(model, (x, c))
    assert plan["make.weight"].std == pytest.approx(usual / math.sqrt(9 * N / 16), rel=1e-6)
    out = plan.apply(model, seed=0)(x, c).detach().square().mean().sqrt()
    assert out == pytest.approx(math.sqrt(100 / 144), rel=0.15)


class Factored(nn.Module):
    """A layer whose weight is a product of two matrices of rank 4 that layers make of a code."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(8, N * 4), nn.Linear(8, 4 * N)

    def forward(self, x, c):
        weight = self.left(c).view(-1, N, 4) @ self.right(c).view(-1, 4, N)
        return torch.bmm(weight, x[:, :, None]).squeeze(-1)


class Mixture(nn.Module):
    """A layer whose weight is a mixture of four (Yang et al. 2019)."""

    def __init__(self, mix):
        super().__init__()
        self.choose, self.experts = nn.Linear(N, 4), nn.Parameter(torch.randn(4, N, N))
        self.mix = mix

    def forward(self, x, c):
        return torch.einsum("boi,bi->bo", self.mix(self.choose(x).softmax(-1), self.experts), x)


COMPOSED = {
    "low rank": Factored,
    "mixture": lambda: Mixture(lambda a, w: torch.einsum("be,eoi->boi", a, w)),
    "mixture, flat": lambda: Mixture(lambda a, w: (a @ w.view(4, -1)).view(-1, N, N)),
    "mixture, by hand": lambda: Mixture(lambda a, w: (a[:, :, None, None] * w).sum(1)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_weight_that_signals_compose_keeps_the_signal(name):
    torch.manual_seed(0)
    batch = torch.randn(256, N), torch.randn(256, 8)
    model = COMPOSED[name]()
    isoinit.init(model, batch, seed=0)
    assert model(*batch).detach().square().mean().sqrt() == pytest.approx(1, rel=0.15)


class Modulated(nn.Module):
    """A layer whose weight a style scales (Karras et al. 2020, section 2.2)."""

    def __init__(self, use, *shape):
        super().__init__()
        self.style, self.w = nn.Linear(8, shape[-1]), nn.Parameter(torch.ones(shape))
        self.use = use

    def forward(self, x, c):
        return self.use(self.w, self.style(c) + 1, x)


def normalized(w):
    return w * torch.rsqrt(w.square().sum((2, 3, 4), keepdim=True) + 1e-8)


def styled(w, s, x, norm=lambda w: w):
    weight = norm(w.permute(0, 3, 1, 2) * s[:, None, :, None, None])
    images = x.view(1, -1, 4, 4)
    made = functional.conv2d(images, weight.reshape(-1, *weight.shape[2:]), groups=len(x))
    return made.view(len(x), -1, 2, 2)


MODULATED = {
    "matrix": (lambda w, s, x: torch.bmm(w * s[:, None], x[:, :, None]), N, N),
    "scaled": (lambda w, s, x: torch.bmm(0.05 * w * s[:, None], x[:, :, None]), N, N),
    "by hand": (lambda w, s, x: ((w * s[:, None]) * x[:, None]).sum(-1), N, N),
    "kernel": (styled, 32, 3, 3, 4),
    "normalized": (lambda w, s, x: styled(w, s, x, normalized), 32, 3, 3, 4),
}


@pytest.mark.parametrize("name", MODULATED)
def test_a_weight_that_a_signal_scales_is_a_weight_and_no_scale(name):
    torch.manual_seed(0)
    batch = torch.randn(256, N), torch.randn(256, 8)
    use, *shape = MODULATED[name]
    model = Modulated(use, *shape)
    plan = isoinit.plan(model, batch)
    assert (plan["w"].role, plan["w"].must_differ) == ("weight", True)
    out = plan.apply(model, seed=0)(*batch)
    assert out.detach().square().mean().sqrt() == pytest.approx(1, rel=0.15)


def test_the_gradient_of_what_scales_a_weight_is_summed_over_its_units():
    """∂L/∂s_i = x_i Σ_o g_o w_oi: sqrt(N) times the standard deviation 1/sqrt(2N) of w, here."""
    model = Modulated(MODULATED["matrix"][0], N, N)
    plan = isoinit.plan(model, (torch.randn(256, N), torch.randn(256, 8)))
    assert plan["style.weight"].expected_gradient == pytest.approx(math.sqrt(1 / 2), rel=0.05)


def test_queries_that_a_table_scales_by_place_are_no_modulated_weights():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(N, N), nn.Linear(N, N)
            self.scale = nn.Parameter(torch.ones(5, N))

        def forward(self, x):
            return (self.q(x) * self.scale) @ self.k(x).mT / 8

    plan = isoinit.plan(Scaled(), torch.randn(2, 5, N))
    assert plan["scale"].initializer == isoinit.Ones()
