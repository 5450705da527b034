"""Sparse models saved and loaded, compiled, in mixed precision, data parallel, under any optimizer."""

import copy

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import isoinit
from isoinit import sparse
from isoinit.errors import ArgumentError
from ranks import on_ranks

X = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 4


def made(seed=0, density=0.25):
    """A linear layer, a convolution that stores what it keeps, and a linear one."""
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Unflatten(1, (4, 16)), nn.Conv1d(4, 8, 3)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 14, 4))
    return sparse.convert(model, isoinit.plan(model, X), density=density, seed=seed)


def train(model, x=X, y=Y, optimizer=torch.optim.Adam, **options):
    """Three steps; the losses."""
    optimizer = optimizer(model.parameters(), **{"lr": 1e-2, **options})
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
        (torch.optim.AdamW, {"fused": True}),
        (torch.optim.RMSprop, {}),
        (torch.optim.Adafactor, {}),
        (torch.optim.Adagrad, {}),
    ],
)
def test_any_optimizer(optimizer, options):
    model = made()
    losses = train(model, optimizer=optimizer, **options)
    assert losses[-1] < losses[0]


def test_training_is_that_of_masked_dense_weights():
    """The same places and values; after three steps the same weights, to rounding."""
    plain = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    stored = sparse.convert(copy.deepcopy(plain), density=0.25, seed=0)
    masked = sparse.mask(plain, density=0.25, seed=0)
    assert torch.allclose(stored(X), masked(X), atol=1e-6)
    for model in (stored, masked):
        train(model, optimizer=torch.optim.SGD, lr=0.1, momentum=0.9)
    dense = sparse.to_dense(stored)
    for index in (0, 2):
        assert torch.allclose(dense[index].weight, masked[index].weight, atol=1e-5)


def test_a_state_dict_goes_into_a_freshly_converted_model(tmp_path):
    model = made()
    train(model)
    fresh = made()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(X), model(X))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    again = made()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(again(X), model(X))


@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential])
def test_a_state_dict_of_another_pattern_is_refused_whole(wrap):
    model, other = wrap(made(0)), wrap(made(1))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArgumentError, match=r"nothing was loaded.*0'.*sparse.adopt"):
        model.load_state_dict(other.state_dict())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ArgumentError, match="nothing was loaded"):
        model.load_state_dict(wrap(made(0, density=0.2)).state_dict())


def test_copies_are_their_own():
    model = made()
    twin = copy.deepcopy(model)
    train(twin)
    assert not torch.equal(twin(X), model(X))
    assert torch.equal(made()(X), model(X))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_steps_are_the_plain_ones(backend):
    compiled = torch.compile(made(), fullgraph=True, backend=backend)
    assert train(compiled) == pytest.approx(train(made()), rel=1e-5)


def test_exported_and_functional():
    model = made()
    state = dict(model.named_parameters())
    assert torch.equal(torch.func.functional_call(model, state, (X,)), model(X))
    exported = torch.export.export(model, (X,))
    assert torch.allclose(exported.module()(X), model(X), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.float16])
def test_other_types(dtype):
    wide, other = made(), made().to(dtype)
    assert torch.allclose(other(X.to(dtype)).float(), wide(X), atol=0.05)
    losses = train(other, X.to(dtype), optimizer=torch.optim.SGD)
    assert losses == pytest.approx(train(wide, optimizer=torch.optim.SGD), rel=0.02)


def test_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        mixed = train(made())
    assert mixed == pytest.approx(train(made()), rel=0.05)


def test_a_bfloat16_model_draws_the_rounded_weights():
    plain = nn.Linear(64, 64)
    one = sparse.convert(copy.deepcopy(plain), density=0.25, seed=0)
    half = sparse.convert(plain.bfloat16(), density=0.25, seed=0)
    assert torch.equal(half.values, one.values.bfloat16())
    assert torch.equal(half.places.columns, one.places.columns)


def train_on_a_rank(rank):
    mine = slice(4 * rank, 4 * rank + 4)
    alone = made()
    expected = train(alone)
    data = DistributedDataParallel(made())
    losses = torch.tensor(train(data, X[mine], Y[mine]))
    dist.all_reduce(losses)
    assert (losses / 2).tolist() == pytest.approx(expected, rel=1e-5)
    for one, other in zip(alone.parameters(), data.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_data_parallel_over_two_processes():
    on_ranks(2, train_on_a_rank)


def test_the_weight_can_be_read_with_its_zeros():
    """As code does that asks a layer for its weight's type, or multiplies by it."""
    layer = made()[0]
    assert layer.weight.shape == (64, 64)
    assert torch.allclose(nn.functional.linear(X, layer.weight, layer.bias), layer(X), atol=1e-5)
