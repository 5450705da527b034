"""Zero and equal weights are judged by what the first steps of training make of them."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit._verifying.health.torch.units import agreeing
from isoinit.initializers.scale import fans


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = normal(64, 32)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def said(model, batch=X, **more):
    before = {name: p.detach().clone() for name, p in model.state_dict().items()}
    random = torch.get_rng_state()
    health = isoinit.check(model, batch, **more)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    return {f.name: f for f in health.findings}


def errors(model, batch=X, **more):
    return {name for name, f in said(model, batch, **more).items() if f.severity == "error"}


class Branch(nn.Module):
    """x + g f(x): a residual branch, with a gate in front of it or not."""

    def __init__(self, width=32, gate=None, open_at=0.0):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.gate = None if gate is None else nn.Parameter(torch.full((gate,), open_at - 1))
        self.open_at = open_at

    def forward(self, x):
        y = self.b(torch.nn.functional.gelu(self.a(x)))
        return x + (y if self.gate is None else (self.gate + 1 - self.open_at) * y)


def stack(**more):
    return nn.Sequential(*(Branch(**more) for _ in range(4)), nn.Linear(32, 5))


class TestWhatTrains:
    """No finding: training moves it."""

    @pytest.mark.parametrize("gate", [1, 32])
    @pytest.mark.parametrize("open_at", [0.0, 1.0])
    def test_gates(self, gate, open_at):
        model = stack(gate=gate, open_at=open_at)
        for branch in model[:4]:
            branch.gate.data.fill_(open_at - 1)  # so that the factor is zero
        assert said(model) == {}

    @pytest.mark.parametrize("optimizer", ["adam", "sgd"])
    def test_zero_in_zero_opens_step_by_step(self, optimizer):
        model = stack(gate=1)
        for branch in model[:4]:
            nn.init.zeros_(branch.b.weight)
            branch.gate.data.fill_(-1)
            branch.b.bias.data.normal_()  # so that the gate gets a gradient first
        assert errors(model, optimizer=optimizer) == set()

    @pytest.mark.parametrize("std", [0.0, 2e-5, 0.01])
    @pytest.mark.parametrize("with_loss", [False, True])
    def test_small_heads(self, std, with_loss):
        model = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(32, 32), nn.Tanh())])
        isoinit.init(model, X, seed=0)
        model.append(nn.Linear(32, 100))  # classes, most of which the batch does not have
        nn.init.normal_(model[-1].weight, std=std)
        nn.init.zeros_(model[-1].bias)
        labels = torch.arange(64) % 7
        loss = (lambda y: nn.functional.cross_entropy(y, labels)) if with_loss else None
        assert said(model, loss=loss) == {}

    def test_modulation_that_starts_at_zero(self):
        class Modulated(nn.Module):
            """A block whose shift, scale and gate are made of a condition (adaLN-zero)."""

            def __init__(self):
                super().__init__()
                self.made, self.norm = nn.Linear(8, 96), nn.LayerNorm(32, elementwise_affine=False)
                self.a, self.b = nn.Linear(32, 64), nn.Linear(64, 32)
                nn.init.zeros_(self.made.weight)
                nn.init.zeros_(self.made.bias)

            def forward(self, x, c):
                shift, scale, gate = self.made(nn.functional.silu(c)).chunk(3, -1)
                y = self.norm(x) * (1 + scale) + shift
                return x + gate * self.b(nn.functional.gelu(self.a(y)))

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList(Modulated() for _ in range(4))
                self.head = nn.Linear(32, 4)
                nn.init.zeros_(self.head.weight)

            def forward(self, x, c):
                for block in self.blocks:
                    x = block(x, c)
                return self.head(x)

        assert said(Model(), (X, normal(64, 8, seed=1))) == {}

    def test_layers_behind_a_branch_that_is_zero(self):
        class Excited(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
                self.down, self.up = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
                nn.init.zeros_(self.norm.weight)

            def forward(self, x):
                y = self.norm(self.conv(x.relu()))
                pooled = y.mean((2, 3), keepdim=True)
                return x + y * torch.sigmoid(self.up(self.down(pooled).relu()))

        ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
        model = nn.Sequential(nn.Conv2d(3, 16, 3), *(Excited() for _ in range(3)), *ends)
        assert errors(model, normal(8, 3, 8, 8)) == set()

    def test_hyper_connections(self):
        class Hyper(nn.Module):
            """Streams that a layer reads and writes by weights of its own (Zhu et al. 2024)."""

            def __init__(self, index, streams=4, width=32):
                super().__init__()
                self.a, self.b = nn.Linear(width, 64), nn.Linear(64, width)
                read = torch.zeros(streams, 1)
                read[index % streams] = 1
                self.alpha = nn.Parameter(torch.cat([read, torch.eye(streams)], 1))
                self.beta = nn.Parameter(torch.ones(streams))
                self.norm = nn.LayerNorm(width)
                self.alpha_of = nn.Parameter(torch.zeros(width, streams + 1))
                self.beta_of = nn.Parameter(torch.zeros(width))
                self.scales = nn.Parameter(torch.full((2,), 0.01))

            def forward(self, streams):
                normed = self.norm(streams)
                alpha = self.alpha + torch.tanh(normed @ self.alpha_of) * self.scales[0]
                beta = self.beta + torch.tanh(normed @ self.beta_of) * self.scales[1]
                mixed = torch.einsum("bst,bsd->btd", alpha, streams)
                y = self.b(nn.functional.gelu(self.a(mixed[:, 0])))
                return mixed[:, 1:] + beta[..., None] * y[:, None]

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList(Hyper(i) for i in range(5))
                self.head = nn.Linear(32, 5)

            def forward(self, x):
                streams = x[:, None].expand(-1, 4, -1)
                for layer in self.layers:
                    streams = layer(streams)
                return self.head(streams.sum(1))

        assert errors(Model()) == set()

    def test_a_branch_that_is_dropped_by_chance(self):
        class Dropped(Branch):
            def forward(self, x):
                kept = (torch.rand(len(x), 1) < 0.5).to(x)
                return x + kept * (super().forward(x) - x)

        model = nn.Sequential(*(Dropped() for _ in range(8)), nn.Linear(32, 5))
        assert errors(model, X[:2]) == set()

    def test_a_table_of_which_only_padding_is_looked_up(self):
        class Shaped(nn.Module):
            def __init__(self):
                super().__init__()
                self.words = nn.Embedding(20, 32)
                self.shapes = nn.Embedding(9, 32, padding_idx=0)
                self.head = nn.Linear(32, 5)

            def forward(self, x):
                return self.head(self.words(x) + self.shapes(torch.zeros_like(x)))

        assert said(Shaped(), torch.arange(20).reshape(4, 5)) == {}


class TestWhatDoesNot:
    """An error that names it."""

    @pytest.mark.parametrize("optimizer", ["adam", "sgd"])
    def test_two_factors_that_are_both_zero(self, optimizer):
        model = stack(gate=32)
        nn.init.zeros_(model[1].b.weight)
        nn.init.zeros_(model[1].b.bias)
        model[1].gate.data.fill_(-1)
        finding = said(model, optimizer=optimizer)["dead part"]
        assert finding.severity == "error"
        assert set(finding.where) == {
            *("1.gate", "1.a.weight", "1.a.bias", "1.b.weight", "1.b.bias"),
        }

    def test_a_zero_norm_before_a_relu(self):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
                nn.init.zeros_(self.norm.weight)

            def forward(self, x):
                return x + torch.relu(self.norm(self.conv(x)))

        model = nn.Sequential(nn.Conv2d(3, 8, 3), Block(), nn.Flatten(), nn.Linear(288, 5))
        assert "1.norm.weight" in said(model, normal(8, 3, 8, 8))["dead part"].where

    def test_every_weight_constant(self):
        model = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(32, 32), nn.Tanh())])
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.1)
        finding = said(model, loss=lambda y: y.square().mean())["symmetry"]
        assert set(finding.where) == {"0.weight", "2.weight", "4.weight"}


def test_equal_weights_whose_gradients_differ_are_a_warning():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    nn.init.constant_(model[0].weight, 0.1)
    found = said(model)
    assert found["duplicated units"].where == ("0.weight",)
    assert {finding.severity for finding in found.values()} == {"warning"}


def test_a_depthwise_weight_of_one_number_is_a_warning():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.GELU(), nn.Conv2d(8, 4, 1))
    nn.init.constant_(model[0].weight, 0.2)
    finding = said(model, normal(4, 8, 8, 8))["constant weight"]
    assert (finding.severity, finding.where) == ("warning", ("0.weight",))


def test_a_gelu_spelled_out_is_no_gate():
    class Gelu(nn.Module):
        def forward(self, x):
            return 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * torch.pow(x, 3))))

    model = nn.Sequential(nn.Linear(32, 32), Gelu(), nn.Linear(32, 32), Gelu(), nn.Linear(32, 5))
    nn.init.zeros_(model[2].weight)
    assert said(model)["starts at zero"].where == ("2.weight",)


def test_a_zero_where_no_recipe_has_it_is_a_warning():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    model.append(nn.Linear(32, 5))
    nn.init.zeros_(model[2].weight)
    found = said(model)
    assert found["starts at zero"].where == ("2.weight",)
    assert {finding.severity for finding in found.values()} == {"warning"}


def test_agreeing_is_by_weights_and_gradients():
    layout = fans.linear((6, 8))
    weights, gradient = normal(6, 8), normal(6, 8, seed=1)
    weights[3:] = weights[:3]
    assert agreeing(weights, gradient, layout) == 0
    gradient[3] = gradient[0] * (1 + 1e-6)  # other weights agree, but not by their gradient
    gradient[5] = gradient[1]  # the same gradient, but other weights
    assert agreeing(weights, gradient, layout) == pytest.approx(2 / 6)
    assert agreeing(torch.zeros(6, 8), torch.zeros(6, 8), layout) == 1


def test_fewer_steps_where_nothing_is_zero(monkeypatch):
    from isoinit._verifying.health.torch import ahead

    def forbidden(*_):
        raise AssertionError("a model without zeros needs no step")

    monkeypatch.setattr(ahead, "_step", forbidden)
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))
    assert said(model) == {}
