"""The signal that is worked out, against closed forms and against real models."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import isoinit
from isoinit._planning.propagation.samples import gaussian
from unit_signal import Apply, second
from zoo import vision


def dropout(a, _):
    return nn.functional.dropout(a, 0.25, training=True)


def halves_written(a, _):
    y = a.clone()
    y[..., :16].relu_()
    return y


def all_written(a, _):
    y = halves_written(a, _)
    y[..., 16:].relu_()
    return y


def padded(a, **how):
    return nn.functional.pad(a.mT, (4, 4), **how).mT  # eight places become sixteen


# E[f²] by hand, for independent standard normal a and b.
FORMS = {
    "relu": (lambda a, _: torch.relu(a), 1 / 2),
    "leaky relu": (lambda a, _: nn.functional.leaky_relu(a, 0.5), (1 + 0.25) / 2),
    "square": (lambda a, _: a * a, 3.0),
    "sum": (lambda a, b: a + b, 2.0),
    "difference": (lambda a, b: 2 * a - b, 5.0),
    "product": (lambda a, b: a * b, 1.0),
    "a sum with itself": (lambda a, _: a + torch.relu(a), 1 + 0.5 + 1),  # E[a·relu(a)] = 1/2
    "gate": (lambda a, b: torch.relu(a) * b, 1 / 2),
    "dropout": (dropout, 4 / 3),
    "times a number": (lambda a, _: a / math.sqrt(8), 1 / 8),
    "exponential": (lambda a, _: torch.exp(a), math.exp(2)),
    "upsampling": (lambda a, _: a.repeat_interleave(2, dim=1), 1.0),
    "a part written in place": (halves_written, (48 + 16 / 2) / 64),
    "all written in parts": (all_written, 1 / 2),
    "zero padding": (lambda a, _: padded(a), 1 / 2),
    "circular padding": (lambda a, _: padded(a, mode="circular"), 1.0),
    "winners": (lambda a, _: a * (a >= a.topk(32).values[..., -1:]), 1 / 2),
    "clamp": (lambda a, _: a.clamp(min=0) - 1, 1 / 2 - 2 * 0.398942 + 1),
}


@pytest.mark.parametrize("name", FORMS)
def test_functions_by_replay(name):
    function, expected = FORMS[name]
    assert second(function) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("units", "expected"), [(2, 1.0), (4, 1 + math.sqrt(3) / math.pi)])
def test_maxout_is_the_largest_of_independent_units(units, expected):
    def maxout(a, _):
        return a.unflatten(-1, (64 // units, units)).amax(-1)

    assert second(maxout, n_in=64 // units) == pytest.approx(expected, rel=0.04)


def test_concatenation_mixes_its_parts():
    found = second(lambda a, b: torch.cat([torch.relu(a), 2 * b], -1), n_in=128)
    assert found == pytest.approx((0.5 + 4) / 2, rel=0.02)


def test_empty_parts_are_no_part():
    found = second(lambda a, b: torch.cat([torch.cat([a[:0], a[:0]]), 2 * b]), n_in=64)
    assert found == pytest.approx(4, rel=0.02)


def test_a_split_gives_independent_parts():
    found = second(lambda a, _: a.chunk(2, -1)[0] * a.chunk(2, -1)[1], n_in=32)
    assert found == pytest.approx(1.0, rel=0.02)


def test_a_glu_by_name_and_by_hand_are_one():
    by_name = second(lambda a, _: nn.functional.glu(a, -1), n_in=32)
    by_hand = second(lambda a, b: a * torch.sigmoid(b))
    assert by_name == pytest.approx(by_hand, rel=0.05)
    assert by_hand == pytest.approx(0.2934, rel=0.02)  # E[sigmoid(z)²]


def test_a_mean_over_places_divides_by_their_number():
    assert second(lambda a, _: a.mean(1)) == pytest.approx(1 / 8, rel=0.02)


def test_a_mean_over_a_grid_of_rows_and_columns_is_that_of_each():
    found = second(lambda a, b: (a[:, :, None] + b[:, None]).mean((1, 2)))
    assert found == pytest.approx(2 / 8, rel=0.15)  # 64 independent places would leave 2 / 64


def test_a_mean_keeps_what_all_places_share():
    # Relu's mean is 1/sqrt(2π): eight places keep its square, and an eighth of the rest.
    share = 1 / (2 * math.pi)
    expected = share + (0.5 - share) / 8
    assert second(lambda a, _: torch.relu(a).mean(1)) == pytest.approx(expected, rel=0.05)


def test_a_mean_over_many_places_does_not_vanish_by_chance():
    """Image tokens behind tiny residual scales: chance made the places negatively correlated."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(
                *(nn.Conv2d(3, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
                *(nn.Conv2d(64, 64, 3, 2, 1), nn.BatchNorm2d(64)),
            )
            self.branch, self.scale = nn.Linear(64, 64), nn.Parameter(torch.full((64,), 1e-5))
            self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            return self.head(self.norm(x + self.scale * self.branch(x)).mean(1))

    torch.manual_seed(0)
    images = nn.functional.interpolate(torch.randn(6, 3, 8, 8), (32, 32), mode="bilinear")
    expected, found = measured(Tokens(), images, 3)["head"]
    assert expected > 0.99 * math.sqrt(3 / 4 / 64)  # 64 independent places leave 1/64
    assert 1 / 2 < expected / found < 2


def test_parts_of_a_row_are_what_was_joined():
    def taken_apart(a, b):
        louder, _ = torch.cat([3 * a, b], -1).chunk(2, -1)
        return louder

    assert second(taken_apart) == pytest.approx(9, rel=0.02)


def test_other_places_are_other_samples():
    assert second(lambda a, _: a[:, 0] + a[:, 1]) == pytest.approx(2, rel=0.02)
    assert second(lambda a, _: a[:, 1:] - a[:, :-1]) == pytest.approx(2, rel=0.02)
    assert second(lambda a, _: sum(a.unbind(1))) == pytest.approx(8, rel=0.1)


def test_a_product_keeps_its_mean():
    # Relu's mean is 1/sqrt(2π): 64 terms of two of them have the mean 64/(2π).
    term, mean = 1 / 4 - 1 / (4 * math.pi**2), 64 / (2 * math.pi)

    def product(a, b):
        return torch.relu(a) @ torch.relu(b).transpose(-1, -2)

    expected = mean**2 + 64 * term
    assert second(product, n_in=8) == pytest.approx(expected, rel=0.05)


def test_a_sum_over_places_counts_them_in_the_plan_too():
    model = Apply(lambda a, _: a.sum(1))
    entry = isoinit.plan(model, torch.randn(4, 8, 64))["out.weight"]
    assert entry.std == pytest.approx(1 / 8 / math.sqrt(8), rel=0.02)


def test_few_probabilities_share_their_sum_exactly():
    def few(a, _):
        return torch.softmax(2 * a.unflatten(-1, (16, 4)), -1).flatten(-2)

    z = 2 * torch.randn(200_000, 4, generator=torch.Generator().manual_seed(1))
    expected = torch.softmax(z, -1).square().mean().item()
    assert second(few) == pytest.approx(expected, rel=0.05)


def test_an_inverse_is_not_trusted():
    signal = gaussian(np.random.default_rng(0), np.eye(3))
    assert signal.trusted
    assert replace(signal, rows=signal.rows**3).trusted
    assert not replace(signal, rows=1 / signal.rows).trusted


class Product(nn.Module):
    """The product of many layers, of unit size though a few elements hold most of it."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(layers))
        self.last = nn.Linear(32, 16)

    def forward(self, x):
        product = self.layers[0](x)
        for layer in self.layers[1:]:
            product = product * layer(x)
        return self.last(product)


def test_a_product_of_independent_signals_is_trusted_until_few_elements_make_it_up():
    x = torch.randn(4, 32).sign()
    entry = isoinit.plan(Product(12), x)["last.weight"]  # of the last product few samples are large
    assert entry.expected == pytest.approx(1.0, rel=1e-6)
    assert "in a run" not in entry.reason
    entry = isoinit.plan(Product(18), x)["last.weight"]  # one element in 3¹⁸ has most of it
    assert "in a run" in entry.reason


def test_attention_without_scores_is_a_mean():
    def attention(a, b):
        return nn.functional.scaled_dot_product_attention(0 * a, 0 * a, b)

    assert second(attention) == pytest.approx(1 / 8, rel=0.02)


def test_causal_attention_without_scores_is_a_mean_of_what_came_before():
    def attention(a, b):
        return nn.functional.scaled_dot_product_attention(0 * a, 0 * a, b, is_causal=True)

    expected = sum(1 / (place + 1) for place in range(8)) / 8
    assert second(attention) == pytest.approx(expected, rel=0.02)


def test_attention_by_hand_is_attention():
    def by_hand(a, b):
        return torch.softmax(a @ b.transpose(-1, -2) * 0, -1) @ b

    assert second(by_hand) == pytest.approx(1 / 8, rel=0.02)


def test_the_examples_own_moments_count():
    model = nn.Linear(64, 64)
    batch = 3 + 2 * torch.randn(512, 64)
    plan = isoinit.plan(model, batch)
    assert plan["weight"].std == pytest.approx(1 / 8, rel=1e-9)  # for a standardized input
    assert plan["weight"].expected == pytest.approx(math.sqrt(9 + 4), rel=0.02)


def test_behind_what_is_not_understood_nothing_is_expected_until_a_norm_layer():
    class Sorts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(64, n) for n in (64, 64, 32))
            self.norm = nn.LayerNorm(64)

        def forward(self, x):
            return self.c(self.norm(self.b(torch.linalg.svd(self.a(x))[0])))

    with torch.device("meta"):  # where it cannot be measured
        model = Sorts()
    plan = isoinit.plan(model, torch.randn(64, 64))
    assert plan["a.weight"].expected == pytest.approx(1, rel=0.05)
    assert plan["b.weight"].expected is None
    assert plan["c.weight"].expected == pytest.approx(1, rel=0.05)


def measured(model, batch, seeds):
    """Expected and measured root mean squares by layer, the latter over several seeds."""
    plan = isoinit.plan(model, batch)
    found = {}
    for seed in range(seeds):
        plan.apply(model, seed)
        for layer in isoinit.check(model, batch).layers:
            found.setdefault(layer.name, []).append(layer.rms**2)
    return {
        name: (plan[f"{name}.weight"].expected, math.sqrt(sum(squares) / len(squares)))
        for name, squares in found.items()
    }


def gpt2():
    config = GPT2Config(
        n_layer=3, n_embd=96, n_head=4, vocab_size=200, bos_token_id=None, eos_token_id=None
    )
    return GPT2LMHeadModel(config)


def llama():
    config = LlamaConfig(
        vocab_size=200,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
    )
    return LlamaForCausalLM(config)


class Reader(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layers, self.head = kind(64, 64, num_layers=2, batch_first=True), nn.Linear(64, 8)

    def forward(self, x):
        return self.head(self.layers(x)[0])


TOKENS = torch.randint(200, (4, 24))
REAL = {
    "GPT-2": (gpt2, {"input_ids": TOKENS}, 6),
    "Llama": (llama, {"input_ids": TOKENS}, 6),
    "ResNet-50": (vision.ResNet50, torch.randn(4, 3, 64, 64), 3),
    "torch's encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128), 3),
        torch.randn(16, 4, 64),
        6,
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_what_is_expected_is_measured(name):
    torch.manual_seed(0)
    build, batch, seeds = REAL[name]
    for layer, (expected, found) in measured(build(), batch, seeds).items():
        assert expected == pytest.approx(found, rel=0.2), layer


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_states_are_followed_in_time(kind):
    torch.manual_seed(0)
    model, batch = Reader(kind), torch.randn(16, 24, 64)
    plan = isoinit.plan(model, batch)
    states = []
    for seed in range(6):
        plan.apply(model, seed)
        with torch.no_grad():
            states.append(model.layers(batch)[0].square().mean())
    expected = plan["layers.weight_ih_l0"].expected
    assert expected == pytest.approx(torch.stack(states).mean().sqrt().item(), rel=0.2)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_both_directions_of_a_recurrent_layer_see_what_one_sees(kind, layers):
    torch.manual_seed(0)
    model = kind(16, 64, num_layers=layers, bidirectional=True, batch_first=True)
    batch = torch.randn(16, 24, 16)
    plan = isoinit.plan(model, batch)
    plan.apply(model, seed=0)
    with torch.no_grad():
        made = model(batch)[0].square().mean().sqrt().item()
    assert plan["weight_ih_l0"].expected == pytest.approx(made, rel=0.2)


def test_a_causal_mask_is_seen_where_it_is_added():

    def added(a, b):
        ordered = torch.full((8, 8), float("-inf")).triu(1)
        return torch.softmax(a @ b.transpose(-1, -2) * 0 + ordered, -1) @ b

    def passed(a, b):
        ordered = torch.full((8, 8), float("-inf")).triu(1)
        return nn.functional.scaled_dot_product_attention(0 * a, 0 * a, b, ordered)

    def filled(a, b):
        later = torch.ones(8, 8, dtype=torch.bool).triu(1)
        return torch.softmax((a @ b.mT * 0).masked_fill(later, -1e9), -1) @ b

    def chosen(a, b):
        earlier = torch.ones(8, 8, dtype=torch.bool).tril()
        return torch.softmax(torch.where(earlier, a @ b.mT * 0, -1e9), -1) @ b

    expected = sum(1 / (place + 1) for place in range(8)) / 8
    for function in (added, passed, filled, chosen):
        assert second(function) == pytest.approx(expected, rel=0.02)


def test_a_mask_leaves_as_many_places_as_it_says():
    shown = torch.zeros(8, 8, dtype=torch.bool)
    shown[:4, :2] = shown[4:, :] = True  # 2 places for one half, 8 for the other

    def attended(mask):
        return lambda a, b: torch.softmax(mask(a @ b.mT * 0), -1) @ b

    forms = [
        lambda s: s + torch.where(shown, 0.0, -100.0),
        lambda s: (s.view(1, -1, 8, 8) + torch.where(shown, 0.0, -100.0)).view(-1, 8, 8),
        lambda s: s.masked_fill(~shown, -1e9),
        lambda s: torch.where(shown, s, torch.tensor(-1e9)),
    ]
    expected = (1 / 2 + 1 / 8) / 2
    for mask in forms:
        assert second(attended(mask)) == pytest.approx(expected, rel=0.08)  # of 3.2 places, 3

    def fused(mask):
        return lambda a, b: nn.functional.scaled_dot_product_attention(0 * a, 0 * a, b, mask)

    for given in (shown, torch.where(shown, 0.0, -100.0)):
        assert second(fused(given)) == pytest.approx(expected, rel=0.08)


class Nodes(nn.Module):
    """Two layers with what `read` makes of the first one's output, and of more, between."""

    def __init__(self, read, width=64):
        super().__init__()
        self.first, self.last = nn.Linear(32, width), nn.Linear(width, 256)
        self.scale = nn.Parameter(torch.zeros(1))
        self.read = read

    def forward(self, x, more):
        return self.read(self, x, more)


def test_an_average_over_the_nodes_of_one_graph_is_no_node():
    """Even weights leave the mean of all nodes: of independent ones 1/n of their second moment."""

    def read(model, x, _):
        nodes = model.first(x)
        even = torch.softmax(0 * nodes[:, :1] + 0 * nodes[:, 1:2].T, 1)
        return model.last(even @ nodes)

    torch.manual_seed(0)
    x = torch.randn(100, 32)
    plan = isoinit.plan(Nodes(read), (x, torch.zeros(1)))
    mean = x.mean(0).square().mean().sqrt().item()  # 1/√100, give or take 1/√64 of that
    assert plan["last.weight"].expected == pytest.approx(mean, rel=0.01)


def test_what_is_made_of_the_example_and_added_is_a_mask_only_where_a_softmax_reads_it():
    """A node with 8 neighbours: their sum has nine times the second moment of one node."""

    def read(model, x, neighbours):
        total = (1 + model.scale) * x + x[neighbours].sum(0)
        return model.last(torch.relu(model.first(total)))

    torch.manual_seed(0)
    x, neighbours = torch.randn(400, 32), torch.randint(0, 400, (8, 400))
    model = Nodes(read)
    plan = isoinit.init(model, (x, neighbours), seed=0)
    assert plan["first.weight"].std == pytest.approx(1 / math.sqrt(9 * 32), rel=0.1)
    first = model.first(x + x[neighbours].sum(0)).detach().square().mean().sqrt()
    assert plan["first.weight"].expected == pytest.approx(first.item(), rel=0.1)


GATHERED = {
    "sum": lambda h, i: h[i].sum(1),
    "mean": lambda h, i: h[i].mean(1),
    "of two": lambda h, i: h[i].mean((1, 2)),
}


@pytest.mark.parametrize("name", GATHERED)
def test_neighbours_that_are_looked_up_are_independent_nodes(name):
    def read(model, x, neighbours):
        return model.last(GATHERED[name](model.first(x), neighbours))

    torch.manual_seed(0)
    shape = (500, 3, 2) if name == "of two" else (500, 6)
    batch = torch.randn(500, 32), torch.randint(0, 500, shape)
    model = Nodes(read)
    plan = isoinit.init(model, batch, seed=0)
    model.first.register_forward_hook(lambda _module, _inputs, made: made.retain_grad())
    held: list[torch.Tensor] = []
    model.first.register_forward_hook(lambda _module, _inputs, made: held.append(made))
    out = model(*batch)
    out.backward(torch.randn_like(out))
    seen = held[0].grad.square().mean().sqrt().item()
    size = out.detach().square().mean().sqrt().item()
    assert plan["last.weight"].expected == pytest.approx(size, rel=0.1)
    assert plan["first.weight"].expected_gradient == pytest.approx(seen, rel=0.1)
