"""Wrappers change no name, and so no weight."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.parallel import DistributedDataParallel

import isoinit
from isoinit._reading.torch import named_parameters


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()))


@pytest.fixture(scope="module")
def gloo(tmp_path_factory):
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "file"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def compiled():
    return torch.compile(network())


def compiled_inside():
    model = network()
    model[2] = torch.compile(model[2])
    return model


def compiled_in_place():
    model = network()
    model.compile()
    return model


def checkpointed():
    model = network()
    model[2] = checkpoint_wrapper(model[2])
    return model


def data_parallel():
    return DistributedDataParallel(network())


def all_at_once():
    model = network()
    model[2] = checkpoint_wrapper(torch.compile(model[2]))
    return DistributedDataParallel(torch.compile(model))


@pytest.mark.parametrize(
    "wrapped",
    [compiled, compiled_inside, compiled_in_place, checkpointed, data_parallel, all_at_once],
)
def test_wrapped_models_get_the_same_bits(wrapped, gloo):
    plain, model, x = network(), wrapped(), torch.randn(3, 4)
    isoinit.init(plain, x, seed=7)
    plan = isoinit.init(model, x, seed=7)
    assert [entry.name for entry in plan] == [name for name, _ in plain.named_parameters()]
    assert plan["0.weight"].role == "weight before relu"
    assert plan["2.0.weight"].role == "weight before tanh"
    for p, q in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_plan_of_the_plain_model_fits_the_wrapped_one(gloo):
    x = torch.randn(3, 4)
    plain = network()
    plan = isoinit.plan(plain, x)
    plan.apply(plain, seed=0)
    wrapped = plan.apply(all_at_once(), seed=0)
    for p, q in zip(plain.parameters(), wrapped.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_child_that_is_only_called_like_a_wrapper_keeps_its_name():
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "_orig_mod": nn.Linear(2, 2)})
    names, aliases = named_parameters(model)
    assert list(names) == [name for name, _ in model.named_parameters()]
    assert aliases == {}


def test_tied_parameters_have_one_name_and_aliases():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    names, aliases = named_parameters(model)
    assert list(names) == ["0.weight"]
    assert aliases == {"1.weight": "0.weight"}
    plan = isoinit.plan(model, torch.tensor([[1, 2]]))
    assert plan["1.weight"] is plan["0.weight"]
    assert plan["0.weight"].std == pytest.approx(0.5)  # logits of unit size: 1/sqrt(width)
    assert plan["0.weight"].role == "embedding, tied to an output weight"


def test_a_module_used_twice_is_named_once():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    names, aliases = named_parameters(model)
    assert list(names) == ["0.weight", "0.bias"]
    assert aliases == {"2.weight": "0.weight", "2.bias": "0.bias"}


os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
