"""What a constructor wrote is evidence: what stands for something is kept, and named."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit
from isoinit.errors import ArgumentError

X = torch.randn(12, 16, generator=torch.Generator().manual_seed(0))


class With(nn.Module):
    """A layer, and a parameter that a function applies to what it gives."""

    def __init__(self, value, function, width=16):
        super().__init__()
        self.layer, self.p, self.function = nn.Linear(16, 16), nn.Parameter(value), function
        self.out = nn.Linear(width, 16)

    def forward(self, x):
        return self.out(self.function(self.layer(x), self.p))


def add(x, p):
    return x + p


def scale(x, p):
    return x * p


def radial(x, p):
    return torch.exp(-(((x[..., None] - p) * 3) ** 2)).flatten(1)


def linear(x, p):
    return functional.linear(x, p)


def warped(x, p):
    return functional.linear(x, p.view(2, 3)[:, :2].repeat(8, 8))


def full(value, *shape):
    return torch.full(shape or (16,), value)


N = torch.arange(1, 17.0)
KEPT = {
    "gate bias": (full(-2.0), add, "−2.0 in every element"),
    "class prior": (full(-math.log(99)), add, "−4.59512 in every element"),
    "temperature": (torch.tensor(20.0), scale, "20.0 in every element"),
    "temperature as a logarithm": (full(0.5, 1), lambda x, p: x * p.exp(), "0.5 in every element"),
    "share": (full(0.9), lambda x, p: p * x + (1 - p) * x.relu(), "0.9 in every element"),
    "centres": (torch.linspace(-2, 2, 12), radial, "the numbers −2 to 2 in equal steps"),
    "random centres": (torch.rand(12) * 4 - 2, radial, "random numbers"),
    "signs": (torch.randn(16).sign(), scale, "the numbers −1 and 1"),
    "rates of decay": (-(5.0 - 8 * ((N - 1) / 15) ** 1.3), lambda x, p: x * p.exp(), "in order"),
    "token shift": ((N / 17) ** 0.6, scale, "in order"),
    "head slopes": (2.0**-N, scale, "equal ratios"),
    "logarithms": (N.log(), lambda x, p: x * torch.exp(-p.exp()), "logarithms"),
    "time steps": (torch.rand(16) * 4.6 - 6.9, lambda x, p: x * functional.softplus(p), "random"),
    "identity": (torch.eye(16), linear, "the numbers 0 and 1"),
    "identity and noise": (torch.eye(16) + 1e-3 * torch.randn(16, 16), linear, "a diagonal"),
    "last layer of zeros": (full(0.0, 16, 16), lambda x, p: x + linear(x, p), "0.0 in every"),
    "cosines": (torch.cos(math.pi / 16 * (N - 0.5) * (N - 1)[:, None]), linear, "repeat"),
    "identity warp": (torch.tensor([1.0, 0, 0, 0, 1, 0]), warped, "the numbers 0 and 1"),
    "two constants": (torch.cat([full(1.0, 8), full(0.0, 8)]), add, "the numbers 0 and 1"),
    "slope": (full(0.05), functional.prelu, "0.05 in every element"),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_stands_for_something_is_kept_and_named(name):
    value, function, said = KEPT[name]
    model = With(value.clone(), function, width=192 if function is radial else 16)
    plan = isoinit.plan(model, X)
    assert said in plan.kept["p"]
    assert plan["p"].kept == "own"
    assert not plan.warnings
    assert [*plan.kept] == ["p"]
    plan.apply(model, seed=1)
    torch.testing.assert_close(model.p.detach(), value, rtol=1e-6, atol=0)
    model(X).square().mean().backward()


FREE = {
    "bias as torch draws it": (torch.rand(16) - 0.5, add),
    "bias": (torch.zeros(16), add),
    "scale": (torch.ones(16), scale),
    "scale about one": (1 + 0.02 * torch.randn(16), scale),
    "offset scale": (torch.zeros(16), lambda x, p: x * (1 + p)),
    "weight": (torch.randn(16, 16), linear),
    "weight of positive numbers": (torch.rand(16, 16), linear),
    "weight of ones": (torch.ones(16, 16), linear),
    "orthogonal weight": (nn.init.orthogonal_(torch.empty(16, 16)), linear),
    "positions": (torch.zeros(12, 16), add),
    "rows that are all alike": (torch.ones(12, 16), add),
}


@pytest.mark.parametrize("name", FREE)
def test_a_fill_and_what_does_nothing_are_planned(name):
    value, function = FREE[name]
    plan = isoinit.plan(With(value.clone(), function), X)
    assert plan.kept == {}
    assert plan["p"].initializer is not None


class TestHowMuch:
    def model(self):
        model = With(full(-2.0), add)
        model.layer.requires_grad_(False)
        return model

    def test_own(self):
        kept = isoinit.plan(self.model(), X).kept
        assert kept == {
            "layer.weight": "kept: it is not trained",
            "layer.bias": "kept: it is not trained",
            "p": "kept: its constructor gives it −2.0 in every element",
        }

    def test_frozen(self):
        plan = isoinit.plan(self.model(), X, keep="frozen")
        assert [*plan.kept] == ["layer.weight", "layer.bias"]
        assert plan["p"].initializer == isoinit.Zeros()

    def test_nothing(self):
        model = self.model()
        plan = isoinit.init(model, X, seed=0, keep="nothing")
        assert plan.kept == {}
        assert not model.layer.weight.requires_grad

    def test_an_override_decides(self):
        plan = isoinit.plan(self.model(), X)
        plan["p"] = isoinit.Zeros()
        plan["layer.weight"] = isoinit.Orthogonal()
        assert [*plan.kept] == ["layer.bias"]

    def test_another_word(self):
        with pytest.raises(ArgumentError, match=r"keep='all'.*own, frozen, nothing"):
            isoinit.plan(self.model(), X, keep="all")

    @pytest.mark.parametrize("options", [{"method": "xavier"}, {"recipe": "own"}])
    def test_a_method_and_a_recipe_keep_what_is_frozen(self, options):
        plan = isoinit.plan(self.model(), X, **options)
        assert {"layer.weight", "layer.bias"} <= plan.kept.keys()
        assert plan["out.weight"].initializer is not None

    def test_a_model_that_is_not_trained_at_all_says_so(self):
        plan = isoinit.plan(self.model().requires_grad_(False), X)
        (warning,) = plan.warnings
        assert 'keep="nothing"' in warning


class TestWithoutValues:
    """On the meta device the model's own initialization tells what a constructor means."""

    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Embedding(9, 16), nn.Linear(16, 16)
            self.table.requires_grad_(False)
            self.gate = nn.Linear(16, 16)
            self.reset_parameters()

        def reset_parameters(self):
            with torch.no_grad():
                places = torch.arange(9.0, device=self.table.weight.device)[:, None]
                self.table.weight.copy_(torch.sin(places * N.to(places.device)))
                self.gate.bias.fill_(-2.0)

        def forward(self, i):
            x = self.table(i)
            return self.layer(x) * torch.sigmoid(self.gate(x))

    I = torch.arange(9)  # noqa: E741

    def test_the_plan_and_the_values_are_the_same(self):
        whole = self.Frozen()
        with torch.device("meta"):
            meta = self.Frozen()
        with isoinit.deferred():
            later = self.Frozen()
        plan = isoinit.plan(whole, self.I)
        assert plan.kept.keys() == {"table.weight", "gate.bias"}
        for model in (meta, later):
            again = isoinit.plan(model, self.I)
            assert (again.digest, again.kept) == (plan.digest, plan.kept)
            again.apply(model, seed=4)
        plan.apply(whole, seed=4)
        for model in (meta, later):
            for name, value in whole.state_dict().items():
                assert torch.equal(value, model.state_dict()[name]), name

    def test_a_frozen_layer_is_drawn_by_its_own_fill(self):
        def build():
            return nn.Sequential(nn.Linear(16, 64).requires_grad_(False), nn.Linear(64, 2))

        with torch.device("meta"):
            model, other = build(), build()
        for one in (model, other):
            isoinit.init(one, X, seed=2)
        weight = model[0].weight
        assert torch.equal(weight, other[0].weight)
        assert weight.abs().max() <= 0.25
        assert weight.abs().max() > 0.2

    def test_memory_that_was_never_written_means_nothing(self):
        with torch.device("meta"):
            model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
        model.to_empty(device="cpu")
        for parameter in model.parameters():
            parameter.data.zero_()
        assert isoinit.plan(model, X).kept == {}


class Empty(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.empty(16, 16))

    def forward(self, x):
        return x @ self.w.T


def test_what_torch_empty_leaves_means_nothing():
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), Empty())
    model[2].w.data = torch.zeros(16, 16)  # what fresh memory often holds
    assert isoinit.plan(model, X).kept == {}


def test_values_that_were_made_and_never_written_over_count():
    """So are those of a model without torch's layers: none of its tensors was written in place."""

    class Members(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(16, 16))
            self.r, self.s = (nn.Parameter(torch.randn(4, 16).sign()) for _ in "rs")

        def forward(self, x):
            return functional.linear(x * self.r[:, None], self.w) * self.s[:, None]

    assert {*isoinit.plan(Members(), X.expand(4, 12, 16)).kept} == {"r", "s"}


def test_zeros_that_would_starve_what_follows_are_planned():
    class Zero(With):
        pass

    model = Zero(torch.zeros(16, 16), lambda x, p: linear(x, p).relu())
    assert isoinit.plan(model, X).kept == {}
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    nn.init.zeros_(model[2].weight)
    assert [*isoinit.plan(model, X).kept] == ["2.weight"]


def test_a_rule_that_wants_its_own_value_says_what_the_constructor_had():
    class Block(With):
        def __init__(self):
            super().__init__(full(1e-6), scale)

        def forward(self, x):
            return x + self.p * self.out(torch.relu(self.layer(x)))

    plan = isoinit.plan(nn.Sequential(Block(), Block(), nn.Linear(16, 2)), X)
    assert plan["0.p"].rule == "LayerScale"
    assert plan["0.p"].initializer == isoinit.Constant(0.1)
    assert "its constructor gives it 1e−06 in every element" in plan["0.p"].reason


def test_a_plan_keeps_nothing_of_what_a_plan_drew():
    model = nn.Sequential(
        *[layer for _ in range(9) for layer in (nn.Linear(16, 16), nn.ReLU())], nn.Linear(16, 2)
    )
    plan = isoinit.init(model, X, seed=0)  # mirrored weights: each number stands there twice
    again = isoinit.plan(model, X)
    assert again.kept == {}
    assert again.digest == plan.digest


def test_what_is_returned_and_not_applied_is_used():
    class Contrastive(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.a, self.b = nn.Linear(16, 8), nn.Linear(16, 8)
            self.logit_scale = nn.Parameter(torch.tensor(value))

        def forward(self, x):
            return self.a(x), self.b(x), self.logit_scale.exp()

    for value in (math.log(1 / 0.07), 0.0):
        plan = isoinit.plan(Contrastive(value), X)
        assert plan.warnings == []
        assert plan["logit_scale"].initializer.mean_for(plan["logit_scale"].layout) == (
            pytest.approx(value)
        )


def test_a_norm_inside_a_recurrent_cell_ends_no_branch():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.x, self.h = nn.Linear(16, 16), nn.Linear(16, 16)
            self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 2)

        def forward(self, x):
            h, outs = torch.zeros(len(x), 16), []
            for step in range(4):
                y = self.x(x[:, step])
                h = torch.sigmoid(y + self.h(h)) * self.norm(torch.tanh(y + self.h(h)))
                outs.append(h + y)
            return self.out(torch.stack(outs, 1))

    plan = isoinit.plan(Recurrent(), torch.randn(8, 4, 16))
    assert plan["norm.weight"].initializer == isoinit.Ones()
