"""Connections that move: what is dropped and grown, and what moves along."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from checkers import ALARM
from isoinit._drawing.streams import Stream
from isoinit._writing.parametrized import parametrized
from isoinit.errors import ArgumentError
from isoinit.initializers import patterns
from isoinit.sparse import rows
from isoinit.sparse.layers import Places, Scattered, SparseEmbedding, SparseLinear
from isoinit.sparse.products import dense
from isoinit.sparse.regrow import Regrow

ROWS, SIZE = 12, 20
FIXED, RANDOM = patterns.Fixed(0.4), patterns.Random(0.4)


def places_of(rows, size, pattern=FIXED, name="w", by_columns=False):
    kept = pattern.draw(Stream(0, name), 1, rows, size)
    columns = torch.from_numpy(kept.columns[kept.order])
    return Places(columns, torch.from_numpy(kept.starts), size, by_columns=by_columns)


def linear(rows=ROWS, size=SIZE, pattern=FIXED, name="w", dtype=torch.float32):
    torch.manual_seed(1)
    places = places_of(rows, size, pattern, name, by_columns=True)
    values = nn.Parameter(torch.randn(places.kept, dtype=dtype))
    return SparseLinear(values, places, nn.Parameter(torch.zeros(rows, dtype=dtype)))


def embedding():
    places = places_of(ROWS, SIZE)
    return SparseEmbedding(nn.Parameter(torch.randn(places.kept)), places, None)


def convolution():
    """(6, 3, 2, 2) from 6 rows of 12."""
    layer, places = nn.Conv2d(3, 6, 2), places_of(6, 12)
    parametrized(layer, "weight", Scattered(places, (6, 3, 2, 2), (0, 1, 2, 3), (6, 3, 2, 2)))
    layer.parametrizations.weight.original = nn.Parameter(torch.randn(places.kept))
    return layer


def whole(layer, values=None):
    places = layer.places
    values = layer.values if values is None else values
    return dense(values.detach(), places.columns, places.starts, places.size)


def rows_of(places, numbers):
    """For each row, number by column."""
    starts, columns = places.starts.tolist(), places.columns.tolist()
    pairs = list(zip(columns, numbers.tolist(), strict=True))
    return [dict(pairs[a:b]) for a, b in pairwise(starts)]


def train(layer, optimizer, x, dtype=None):
    """One step; the gradient of the dense weight, as torch makes it of a dense layer."""
    optimizer.zero_grad()
    layer(x).square().sum().backward()
    full = whole(layer).requires_grad_()
    nn.functional.linear(x, full, layer.bias.detach()).square().sum().backward()
    optimizer.step()
    return full.grad


def moved_by_hand(before, steep, share):
    """What each row keeps, by column: the definition, one weight at a time; None for a new weight."""
    after = []
    for weights, slope in zip(before, steep.abs().tolist(), strict=True):
        count = round(share * len(weights))
        by_size = sorted(weights, key=lambda column: abs(weights[column]))
        remain = set(by_size[count:])
        free = [c for c in range(len(slope)) if c not in remain]
        grown = sorted(free, key=lambda column: -slope[column])[:count]
        after.append({c: weights.get(c) for c in sorted(remain.union(grown))})
    return after


@pytest.mark.parametrize("pattern", [FIXED, RANDOM])
@pytest.mark.parametrize("chunk", [1, 3 * SIZE * 4, 2**26])
def test_rigl_drops_the_smallest_and_grows_the_steepest(pattern, chunk, monkeypatch):
    monkeypatch.setattr(rows, "_CHUNK", chunk)
    layer = linear(pattern=pattern)
    starts = layer.places.starts.clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    regrow = Regrow(layer, optimizer, fraction=0.6, every=2, until=8)
    x = torch.randn(7, SIZE)
    train(layer, optimizer, x)
    assert regrow.step() == 0
    for step in (2, 4, 6):
        steep = train(layer, optimizer, x)
        before = rows_of(layer.places, layer.values)
        moved = regrow.step()
        share = 0.3 * (1 + math.cos(math.pi * step / 8))
        expected = moved_by_hand(before, steep, share)
        assert rows_of(layer.places, layer.values) == [
            {c: v or 0.0 for c, v in row.items()} for row in expected
        ]
        assert moved == sum(v is None for row in expected for v in row.values()) > 0
        assert torch.equal(layer.places.starts, starts)
        train(layer, optimizer, x)
        assert regrow.step() == 0


def test_the_gradient_is_that_of_all_batches_of_a_step():
    """Also through batches of several axes, by keyword, and a layer that is called twice."""
    layer = linear(dtype=torch.float64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    regrow = Regrow(layer, optimizer, every=1, until=100)
    batches = [torch.randn(2, 3, SIZE, dtype=torch.float64) for _ in range(3)]
    with torch.no_grad():
        layer(batches[0])
    layer(batches[0]).exp()  # without a backward pass
    (layer(x=batches[0]).sum() + layer(batches[1]).square().sum()).backward()
    layer(batches[2]).sum().backward()
    full = whole(layer).requires_grad_()
    one, two, three = (nn.functional.linear(x, full, layer.bias.detach()) for x in batches)
    (one.sum() + two.square().sum() + three.sum()).backward()
    before = rows_of(layer.places, layer.values)
    regrow.step()
    expected = moved_by_hand(before, full.grad, 0.15 * (1 + math.cos(math.pi / 100)))
    assert [list(row) for row in rows_of(layer.places, layer.values)] == [
        list(row) for row in expected
    ]


@pytest.mark.parametrize("method", ["rigl", "set"])
@pytest.mark.parametrize("pattern", [FIXED, RANDOM])
def test_the_state_of_an_optimizer_moves_along(method, pattern):
    layer = linear(pattern=pattern)
    optimizer = torch.optim.Adam(layer.parameters(), amsgrad=True)
    regrow = Regrow(layer, optimizer, method=method, fraction=0.9, every=1, until=100)
    train(layer, optimizer, torch.randn(7, SIZE))
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    state, values = optimizer.state[layer.values], layer.values
    tensors = [values, values.grad, *(state[name] for name in names)]
    before = [rows_of(layer.places, t) for t in tensors]
    version, count = values._version, state["step"].clone()
    moved = regrow.step()
    assert layer.values is values
    assert values._version > version
    assert state["step"] == count
    fresh = 0
    for t, old in zip(tensors, before, strict=True):
        new = rows_of(layer.places, t)
        for a, b in zip(old, new, strict=True):
            assert len(a) == len(b)
            assert list(b) == sorted(b)
            assert b == {column: a.get(column, 0.0) for column in b}
            fresh += len(b.keys() - a.keys())
    assert fresh == moved * len(tensors) > 0


@pytest.mark.parametrize("method", ["rigl", "set"])
def test_between_moves_it_trains_as_a_dense_layer_with_a_mask(method):
    layer = linear(dtype=torch.float64)
    options = {"lr": 0.003, "momentum": 0.9, "weight_decay": 0.1}
    optimizer = torch.optim.SGD(layer.parameters(), **options)
    regrow = Regrow(layer, optimizer, method=method, fraction=0.5, every=5, until=40)
    twin = nn.Linear(SIZE, ROWS).double()
    ours = torch.optim.SGD(twin.parameters(), **options)
    with torch.no_grad():
        twin.weight.copy_(whole(layer))
        twin.bias.zero_()
    losses = []
    for _ in range(30):
        x = torch.randn(9, SIZE, dtype=torch.float64)
        mask = whole(layer, torch.ones_like(layer.values))
        outputs = []
        for network, steps in ((layer, optimizer), (twin, ours)):
            steps.zero_grad()
            y = network(x)
            (y - x[:, :ROWS]).square().mean(0).sum().backward()
            if network is twin:
                twin.weight.grad.mul_(mask)
            steps.step()
            outputs.append(y.detach())
        assert torch.allclose(*outputs, rtol=1e-9, atol=1e-12)
        losses.append((outputs[0] - x[:, :ROWS]).square().mean())
        if regrow.step():
            stays = mask * whole(layer, torch.ones_like(layer.values))
            with torch.no_grad():
                twin.weight.mul_(stays)
                ours.state[twin.weight]["momentum_buffer"].mul_(stays)
        assert torch.allclose(whole(layer), twin.weight.detach(), rtol=1e-9, atol=1e-12)
    assert losses[-1] < losses[0] / 2


def test_the_gradient_of_the_input_follows_the_places():
    layer = linear()
    regrow = Regrow(layer, torch.optim.SGD(layer.parameters()), method="set", every=1, until=9)
    regrow.step()
    x, g = torch.randn(4, SIZE, requires_grad=True), torch.randn(4, ROWS)
    layer(x).backward(g)
    assert torch.allclose(x.grad, g @ whole(layer), atol=1e-5)


def test_units_without_gradient_keep_their_weights():
    layer = linear()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    regrow = Regrow(layer, optimizer, fraction=1.0, every=1, until=100)
    before = whole(layer)
    layer(torch.randn(7, SIZE))[:, 1:].square().sum().backward()  # nothing reaches unit 0
    assert regrow.step() > 0
    after = whole(layer)
    assert torch.equal(after[0], before[0])
    assert (after[1:] != before[1:]).any(1).all()


def test_layers_are_watched_only_for_the_step_that_moves():
    model = nn.Sequential(linear(), nn.ReLU(), linear(4, ROWS))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    regrow = Regrow(model, optimizer, every=3, until=9)
    watched = []
    for _ in range(9):
        watched.append(bool(model[0]._forward_hooks))
        assert regrow.due == watched[-1]
        model(torch.randn(5, SIZE)).sum().backward()
        regrow.step()
    assert watched == [step in (3, 6) for step in range(1, 10)]
    assert not model[2]._forward_hooks


def test_a_layer_that_a_batch_passes_by_stays():
    model = nn.ModuleList([linear(), linear()])
    regrow = Regrow(model, torch.optim.SGD(model.parameters()), every=1, until=9)
    model[0](torch.randn(5, SIZE)).square().sum().backward()
    before = copy.deepcopy(model[1].state_dict())
    assert regrow.step() > 0
    assert all(torch.equal(t, before[name]) for name, t in model[1].state_dict().items())


def test_a_half_precision_batch_tells_too():
    layer = linear()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    regrow = Regrow(layer, optimizer, every=1, until=9)
    layer(torch.randn(5, SIZE).bfloat16()).float().square().sum().backward()
    optimizer.step()
    assert regrow.step() > 0


@pytest.mark.parametrize("make", [linear, embedding, convolution])
def test_set_moves_weights_of_every_kind(make):
    model = nn.Sequential(make())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    regrow = Regrow(model, optimizer, method="set", fraction=0.5, every=1, until=100)
    places = next(m for m in model.modules() if isinstance(m, Places))
    starts, columns = places.starts.clone(), places.columns.clone()
    values = next(p for p in model.parameters() if p.ndim == 1 and len(p) == places.kept)
    sizes = values.detach().abs().reshape(len(starts) - 1, -1)
    moved = regrow.step()
    quota = round(sizes.shape[1] * 0.25 * (1 + math.cos(math.pi / 100)))
    assert 0 < moved <= quota * len(sizes)
    assert int((values == 0).sum()) == moved
    new = values.detach().abs().reshape(sizes.shape)
    largest = sizes.sort(1).values[:, quota:]  # what has to remain
    assert torch.equal(new.sort(1).values[:, quota:], largest)
    assert torch.equal(places.starts, starts)
    assert not torch.equal(places.columns, columns)
    lines = places.columns.reshape(sizes.shape)
    assert (lines.diff(dim=1) > 0).all()
    assert lines.min() >= 0
    assert lines.max() < places.size
    x = torch.arange(5) if make is embedding else torch.randn(2, SIZE)
    x = torch.randn(2, 3, 4, 4) if make is convolution else x
    (model(x) - 1).square().sum().backward()
    optimizer.step()
    assert (values == 0).sum() < moved


@pytest.mark.parametrize("pattern", [FIXED, RANDOM])
def test_set_is_a_function_of_seed_name_and_step(pattern):
    def columns(seed=0, name="a", steps=1):
        model = nn.ModuleDict({name: linear(pattern=pattern)})
        options = {"method": "set", "every": 1, "until": 1000}
        regrow = Regrow(model, torch.optim.SGD(model.parameters()), seed=seed, **options)
        regrow.load_state_dict({"steps": steps - 1})
        regrow.step()
        return model[name].places.columns

    assert torch.equal(columns(), columns())
    for other in (columns(seed=1), columns(name="b"), columns(steps=2)):
        assert not torch.equal(columns(), other)


def test_set_takes_every_free_place_as_often():
    """2000 rows of 9 keep columns 1, 4 and 8 and drop 8: it or one of 0, 2, 3, 5, 6, 7 comes."""
    rows = 2000
    columns = torch.tensor([1, 4, 8]).repeat(rows)
    places = Places(columns, torch.arange(rows + 1) * 3, 9, by_columns=True)
    layer = SparseLinear(nn.Parameter(torch.tensor([3.0, 2.0, 1.0]).repeat(rows)), places, None)
    options = {"method": "set", "fraction": 1 / 3, "every": 1, "until": 1000}
    moved = Regrow(layer, torch.optim.SGD(layer.parameters()), **options).step()
    found = np.bincount(places.columns.numpy(), minlength=9)
    assert found[1] == found[4] == rows
    assert moved == rows - found[8]
    assert chisquare(found[[0, 2, 3, 5, 6, 7, 8]]).pvalue > ALARM
    without = np.append(
        found[[0, 2, 3, 5, 6, 7]] + found[8] // 6, 0
    )  # what was dropped never comes
    assert chisquare(without).pvalue < ALARM


def test_rows_that_keep_everything_or_nothing():
    columns, starts = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 3, 3, 4])
    places = Places(columns, starts, 3, by_columns=True)
    layer = SparseLinear(nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0])), places, None)
    options = {"method": "set", "fraction": 1.0, "every": 1, "until": 1000}
    regrow = Regrow(layer, torch.optim.SGD(layer.parameters()), **options)
    for _ in range(5):
        regrow.step()
        assert torch.equal(places.starts, starts.int())
        assert torch.equal(places.columns[:3], torch.arange(3).int())
    assert torch.equal(layer.values[:3].detach(), torch.tensor([1.0, 2.0, 3.0]))


def test_frozen_weights_stay_and_shared_modules_move_once():
    layer, frozen = linear(), linear()
    frozen.values.requires_grad_(False)
    model = nn.ModuleList([layer, frozen, layer])
    optimizer = torch.optim.SGD([layer.values])
    regrow = Regrow(model, optimizer, method="set", every=1, until=9)
    before = frozen.places.columns.clone()
    assert 0 < regrow.step() <= 3 * ROWS
    assert torch.equal(frozen.places.columns, before)


@pytest.mark.parametrize("method", ["rigl", "set"])
def test_goes_on_from_a_saved_state(method):
    def build():
        layer = linear()
        optimizer = torch.optim.Adam(layer.parameters())
        return layer, optimizer, Regrow(layer, optimizer, method=method, every=2, until=20)

    def run(layer, optimizer, regrow, steps):
        for step in steps:
            torch.manual_seed(step)
            train(layer, optimizer, torch.randn(5, SIZE))
            regrow.step()

    one = build()
    run(*one, range(8))
    first, second = build(), build()
    run(*first, range(3))
    second[0].values.data.copy_(first[0].values)
    second[0].bias.data.copy_(first[0].bias)
    second[0].places.move(first[0].places.columns, first[0].places.starts)
    second[1].load_state_dict(copy.deepcopy(first[1].state_dict()))
    second[2].load_state_dict(first[2].state_dict())
    run(*second, range(3, 8))
    for a, b in zip(one[0].state_dict().values(), second[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_rigl_without_a_backward_pass_is_refused():
    layer = linear()
    regrow = Regrow(layer, torch.optim.SGD(layer.parameters()), every=1, until=9)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ArgumentError, match=r"no gradient.*loss\.backward"):
        regrow.step()
    assert regrow.steps == 0
    assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())
    layer(torch.randn(5, SIZE)).square().sum().backward()
    assert regrow.step() > 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "snip"}, r"method='snip'.*'rigl' or 'set'"),
        ({"fraction": 0}, r"fraction=0\b.*above 0"),
        ({"fraction": 1.1}, r"fraction=1\.1"),
        ({"fraction": float("nan")}, "fraction=nan"),
        ({"fraction": True}, "fraction=True"),
        ({"every": 0}, "every=0.*1 or more"),
        ({"every": 2.0}, r"every=2\.0.*integer"),
        ({"until": 0}, "until=0"),
        ({"every": 50, "until": 50}, "Expected until above every"),
        ({"seed": "a"}, "seed='a'"),
    ],
)
def test_arguments_out_of_range(options, match):
    layer = linear()
    optimizer = torch.optim.SGD(layer.parameters())
    with pytest.raises(ArgumentError, match=match):
        Regrow(layer, optimizer, **{"every": 5, "until": 50, **options})


def sharing():
    first, second = linear(), linear(name="v")
    second.values = first.values
    return nn.ModuleList([first, second])


def wrapped(name):
    model = nn.Sequential(linear())
    model.__class__ = type(name, (nn.Sequential,), {})
    return model


@pytest.mark.parametrize(
    ("model", "method", "match"),
    [
        (nn.Linear(2, 2), "set", "no trainable sparse weights.*convert"),
        (nn.Linear(2, 2), "rigl", "no trainable sparse weights.*convert"),
        (nn.Sequential(embedding()), "rigl", r"'0\.weight' belongs to another layer.*'set'"),
        (nn.Sequential(convolution()), "rigl", r"'0\.weight' belongs to another layer.*'set'"),
        (sharing(), "set", r"'1\.weight' and '0\.weight' share"),
        (wrapped("DistributedDataParallel"), "rigl", "wrapped in DistributedDataParallel"),
        (wrapped("FSDPModule"), "set", "wrapped in FSDPModule"),
        ([linear()], "set", "model is a list"),
    ],
)
def test_models_that_are_refused(model, method, match):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters())
    with pytest.raises(ArgumentError, match=match):
        Regrow(model, optimizer, method=method, until=1000)


def test_optimizers_that_are_refused():
    model = nn.Sequential(linear(), linear())
    with pytest.raises(ArgumentError, match=r"does not hold.*'1\.weight'"):
        Regrow(model, torch.optim.SGD(model[0].parameters()), until=1000)
    with pytest.raises(ArgumentError, match="optimizer is a list"):
        Regrow(model, list(model.parameters()), until=1000)


@pytest.mark.parametrize("state", [{}, {"steps": -1}, {"steps": "3"}])
def test_a_state_of_something_else_is_refused(state):
    layer = linear()
    regrow = Regrow(layer, torch.optim.SGD(layer.parameters()), until=1000)
    with pytest.raises(ArgumentError, match=r"Regrow\.state_dict"):
        regrow.load_state_dict(state)
