"""Trends are judged along one path: the plain chain, or layers of one kind, one behind the other."""

import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit._reading.roles import read_roles
from isoinit._reading.torch import structure, trace
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.series import find_series, on_the_way, slope


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = normal(32, 16)


class Block(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.o, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x, other=None):
        y = self.norm(x)
        other = y if other is None else other
        scores = self.q(y) @ self.k(other).transpose(-1, -2) / 4
        return x + self.o(scores.softmax(-1) @ self.v(other))


def series_of(model, batch):
    """The names in each series of a model, every layer measured once a use."""
    graph = trace(model, batch)
    roles = read_roles(graph, lambda: structure(model))
    layers = [
        LayerHealth(use.parameter.removesuffix(".weight"), op.outputs[0])
        for op in graph.ops
        for use in op.uses
        if use.slot == "weight"
    ]
    return [series.names for series in find_series(graph, layers, roles)]


def chain(depth, *more):
    layers = [m for _ in range(depth) for m in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers, *more, nn.Linear(16, 4))


def test_a_plain_chain_is_one_series_without_its_output():
    assert series_of(chain(5), X) == [[f"{2 * i}" for i in range(5)]]


def test_three_layers_are_no_trend():
    assert series_of(chain(3), X) == []


def test_names_of_a_chain_do_not_matter():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d, self.e = (nn.Linear(16, 16) for _ in range(5))

        def forward(self, x):
            for layer in (self.a, self.b, self.c, self.d):
                x = layer(x).tanh()
            return self.e(x)

    assert series_of(Named(), X) == [["a", "b", "c", "d"]]


def test_branches_are_compared_kind_by_kind():
    model = nn.Sequential(*(Block() for _ in range(5)), nn.Linear(16, 4))
    found = series_of(model, normal(4, 6, 16))
    assert sorted(found) == [[f"{i}.{kind}" for i in range(5)] for kind in "koqv"]


def test_an_encoder_and_a_decoder_are_two_paths():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleList(Block() for _ in range(4))
            self.decoder = nn.ModuleList(Block() for _ in range(4))

        def forward(self, x, y):
            for block in self.encoder:
                x = block(x)
            for block in self.decoder:
                y = block(y, x)
            return y

    found = series_of(Both(), (normal(4, 6, 16), normal(4, 5, 16, seed=1)))
    assert len(found) == 6  # keys and values of the decoder all read the encoder's end
    assert all(len({name.partition(".")[0] for name in names}) == 1 for names in found)


def test_steps_in_time_and_loops_are_no_depth():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.x, self.h, self.out = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            h = torch.zeros_like(x)
            for _ in range(8):
                h = torch.tanh(self.x(x) + self.h(h))
            return self.out(h)

    assert series_of(Loop(), X) == []


def test_parallel_layers_have_one_depth():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.ways = nn.ModuleList(nn.Linear(16, 16) for _ in range(6))
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            return self.head(sum(torch.tanh(way(x)) for way in self.ways))

    assert series_of(Wide(), X) == []


def test_the_one_way_through():
    graph = trace(chain(2), X)
    inner = {op.outputs[0] for op in graph.ops}
    assert on_the_way(graph) == inner

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(16, 16) for _ in range(3))

        def forward(self, x):
            x = self.a(x)
            return self.c(x + self.b(x))

    graph = trace(Skip(), X)
    weights = {op.uses[0].parameter: op.outputs[0] for op in graph.ops if op.uses}
    way = on_the_way(graph)
    assert [name for name, value in weights.items() if value in way] == ["a.weight", "c.weight"]


def test_slope_is_the_median_and_no_jump():
    assert slope([1, 2, 4, 8, 1e6]) == pytest.approx(0.6931, abs=1e-3)
    assert slope([1, 2, 4, 8, 16]) == pytest.approx(0.6931, abs=1e-3)
    assert slope([1, 1, 1e6, 1e6]) == pytest.approx(0, abs=1e-6)
    assert slope([2, 4, 8, 1, 2]) == pytest.approx(0, abs=0.24)


def test_gradients_before_norm_layers_count_by_their_root():
    """Under batch norm and ReLU they grow by √(π/(π-1)) a layer (Yang et al. 2019, ReLU)."""
    torch.manual_seed(0)
    layers = [(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU()) for _ in range(60)]
    health = isoinit.check(nn.Sequential(*[x for each in layers for x in each]), normal(512, 256))
    (finding,) = [f for f in health.findings if f.name == "exploding gradient"]
    assert finding.severity == "warning"
    rate = math.sqrt(math.pi / (math.pi - 1))
    assert math.log(finding.value) / 59 == pytest.approx(math.log(rate), rel=0.1)
    assert finding.value > 1e3  # an error in a chain without norm layers


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert"])
def test_small_encoders_as_their_library_starts_them(kind):
    import transformers

    sizes = {
        "Bert": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
        "DistilBert": {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
    }
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=100, **sizes.get(kind, sizes["Bert"] | {"max_position_embeddings": 40})
    )
    model = getattr(transformers, f"{kind}Model")
    for seed in range(2):
        torch.manual_seed(seed)
        batch = {"input_ids": torch.randint(5, 100, (4, 12))}
        assert isoinit.check(model(config), batch).ok


def test_a_pooler_that_the_loss_does_not_read_is_a_warning():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.pooler = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x):
            hidden = self.body(x)
            return hidden, torch.tanh(self.pooler(hidden))

    def found(loss):
        return {f.name: f for f in isoinit.check(Pooled(), X, loss=loss).findings}

    unused = found(lambda out: out[0].square().mean())["unused parameter"]
    assert unused.severity == "warning"
    assert unused.where == ("pooler.weight", "pooler.bias")
    assert "unused parameter" not in found(lambda out: out[1].square().mean() + out[0].mean())
    detached = found(lambda out: out[1].detach().mean() + out[0].mean())["detached"]
    assert detached.severity == "error"


@pytest.mark.parametrize("used", [False, True])
def test_what_no_gradient_comes_to_is_tried(used):
    """Of what leaves torch only a trial tells whether it comes back: dropout draws the same in it."""

    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.scores = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x):
            best = self.scores(x).detach().numpy().argsort(1)[:, :4]
            hidden = nn.functional.dropout(self.body(x), 0.5)
            return hidden.gather(1, torch.from_numpy(best if used else best * 0))

    model = Chosen()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = {f.name: f for f in isoinit.check(model, X).findings}
    assert ("detached" in found) is used
    assert ("unused parameter" in found) is not used
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
