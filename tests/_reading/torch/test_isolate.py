"""The model is as it was, byte for byte, whatever its forward does."""

import copy
import functools
import gc
import random
import weakref
from collections import OrderedDict, deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

import isoinit
from isoinit.errors import TraceError


class Messy(nn.Module):
    """A forward that stores, counts, draws random numbers, and may fail."""

    def __init__(self, fail=False, branch=False):
        super().__init__()
        self.linear = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.cache = {}
        self.seen = []
        self.deep = {"layers": [{"k": torch.zeros(2)}, (torch.ones(2), [])], "queue": deque()}
        self.fail, self.branch = fail, branch
        self.linear.register_forward_hook(lambda *_: None)

    def forward(self, x):
        self.calls += 1
        self.cache["x"] = x
        self.seen.append(x.shape)
        self.deep["layers"][0]["k"] += 1
        self.deep["layers"][0]["v"] = x
        self.deep["layers"][1][0].mul_(3)
        self.deep["layers"][1][1].append(x)
        self.deep["queue"].append(x)
        self.last = x
        self.linear.weight.tag = "stays on the lent tensor or is harmless"
        random.random()
        np.random.rand()
        torch.rand(3)
        y = self.drop(self.norm(self.linear(x)))
        self.eval()
        if self.branch and y.sum() > 1e9:
            y = y * 2
        if self.fail:
            raise RuntimeError("deliberate")
        return y


def state(model):
    return {
        "tensors": {k: v.clone() for k, v in model.state_dict().items()},
        "ids": {k: id(v) for k, v in model.named_parameters()},
        "buffer ids": {k: id(v) for k, v in model.named_buffers()},
        "grads": {
            k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()
        },
        "modes": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "keys": [sorted(vars(m)) for m in model.modules()],
        "cache": dict(model.cache),
        "seen": list(model.seen),
        "deep": repr(model.deep),
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),
    }


def assert_same(before, after):
    for key, value in before.items():
        found = after[key]
        if key in ("tensors", "grads"):
            assert value.keys() == found.keys()
            for name, tensor in value.items():
                assert tensor is found[name] is None or torch.equal(tensor, found[name]), name
        elif key == "torch":
            assert torch.equal(value, found)
        elif key == "numpy":
            assert all(np.array_equal(a, b) for a, b in zip(value, found, strict=True))
        else:
            assert value == found, key


@pytest.fixture
def grown():
    """A model with gradients and running statistics of its own."""

    def make(**options):
        model = Messy(**options)
        model.linear(torch.randn(3, 4)).sum().backward()
        model.norm(torch.randn(6, 8))
        return model

    return make


@pytest.mark.parametrize("branch", [False, True], ids=["fake", "real"])
def test_planning_leaves_no_trace(grown, branch):
    model = grown(branch=branch)
    before = state(model)
    plan = isoinit.plan(model, torch.randn(5, 4))
    assert plan.how == ("real" if branch else "fake")
    after = state(model)
    before.pop("torch"), after.pop("torch")  # the example above was drawn in between
    assert_same(before, after)


@pytest.mark.parametrize("branch", [False, True], ids=["fake", "real"])
def test_a_forward_that_raises_leaves_no_trace(grown, branch):
    model, x = grown(fail=True, branch=branch), torch.randn(5, 4)
    before = state(model)
    with pytest.raises(TraceError, match="deliberate"):
        isoinit.plan(model, x)
    assert_same(before, state(model))


@pytest.mark.parametrize("fail", [False, True])
def test_checking_leaves_no_trace(grown, fail):
    model, x = grown(fail=fail), torch.randn(5, 4)
    before = state(model)
    if fail:
        with pytest.raises(TraceError, match="deliberate"):
            isoinit.check(model, x)
    else:
        isoinit.check(model, x)
    assert_same(before, state(model))


def test_structure_leaves_no_trace(grown):
    model = grown()
    before = state(model)
    isoinit.plan(model)
    assert_same(before, state(model))


def test_a_planned_model_still_trains():
    model = Messy()
    isoinit.plan(model, torch.randn(5, 4))
    twin = copy.deepcopy(model)
    x = torch.randn(5, 4)
    torch.manual_seed(0)
    model(x).sum().backward()
    torch.manual_seed(0)
    twin(x).sum().backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


class Cache:
    """Keys by layer, as a language model keeps them."""

    def __init__(self):
        self.layers = [Layer()]
        self.seen = 0


class Layer:
    def __init__(self):
        self.keys = [torch.ones(2)]


@functools.lru_cache
def table(size):
    return torch.arange(float(size))


class Careless(nn.Module):
    """A forward that changes its own weights, objects that it holds, and functions' memories."""

    def __init__(self, real, fail):
        super().__init__()
        self.linear, self.cache = nn.Linear(4, 4), Cache()
        self.real, self.fail = real, fail

    @functools.lru_cache  # noqa: B019  # as people write it
    def mask(self, size):
        return torch.ones(size, 4)

    def forward(self, x):
        self.linear.weight.data.clamp_(-0.01, 0.01)
        self.linear.requires_grad_(False)
        self.linear.weight.grad = torch.ones(4, 4)
        y = self.linear(x * self.mask(x.shape[0]) + table(4))
        self.cache.seen += 1
        self.cache.layers[0].keys[0].mul_(3)
        self.cache.layers[0].keys.append(y)
        if self.real and y.sum() > 1e9:
            y = 2 * y
        if self.fail:
            raise RuntimeError("deliberate")
        return y


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("real", [False, True])
def test_weights_held_objects_and_memories_are_as_before(real, fail):
    table.cache_clear()
    model, x = Careless(real, fail), torch.randn(2, 4)
    weight = model.linear.weight.detach().clone()
    keys = model.cache.layers[0].keys
    first = keys[0]
    try:
        assert isoinit.plan(model, x).how == ("real" if real else "fake")
    except TraceError:
        assert fail
    assert torch.equal(model.linear.weight, weight)
    assert model.linear.weight.requires_grad
    assert model.linear.weight.grad is None
    assert model.cache.seen == 0
    assert model.cache.layers[0].keys is keys
    assert len(keys) == 1
    assert keys[0] is first
    assert first.tolist() == [1.0, 1.0]
    assert type(model.mask(2)) is type(table(4)) is torch.Tensor


def test_weights_made_before_in_a_cached_block_are_not_met_as_constants():
    model = nn.Sequential(spectral_norm(nn.Linear(4, 4)), nn.ReLU())
    with parametrize.cached():
        made = model[0].weight
        plan = isoinit.plan(model, torch.randn(2, 4))
        assert model[0].weight is made
    assert plan["0.parametrizations.weight.original"].role == "weight before relu"


class Frozen(dict):
    """A configuration that refuses changes, as `diffusers` has."""

    def refuse(self, *_):
        raise TypeError("frozen")

    __setitem__ = update = clear = pop = setdefault = refuse


class Absent:
    """An optional module that is not installed, as `monai` has: it answers nothing."""

    def __getattr__(self, name):
        raise ImportError(f"{name} of what is not installed")


class Configured(nn.Module):
    beside = Absent()

    def __init__(self, fail=False):
        super().__init__()
        self.linear, self.absent, self.fail = nn.Linear(4, 4), Absent(), fail
        self.config = Frozen(width=4, table=torch.ones(4), nested=Frozen(depth=1))

    def forward(self, x):
        self.order = Frozen(seen=1)
        if self.fail:
            raise RuntimeError("deliberate")
        return self.linear(x * self.config["table"])


@pytest.mark.parametrize("fail", [False, True])
def test_containers_that_refuse_changes_keep_what_they_hold(fail):
    model = Configured(fail)
    table = model.config["table"]
    if fail:
        with pytest.raises(TraceError, match="deliberate"):
            isoinit.plan(model, torch.randn(2, 4))
    else:
        assert isoinit.plan(model, torch.randn(2, 4))["linear.weight"].expected is not None
        assert isoinit.check(model, torch.randn(2, 4)).layers
    assert model.config == {"width": 4, "table": table, "nested": {"depth": 1}}
    assert model.config["table"] is table
    assert not hasattr(model, "order")


def test_containers_of_their_own_order_keep_it():
    model = nn.Linear(2, 2)
    model.kept = OrderedDict([("b", torch.zeros(2)), ("a", torch.ones(2))])
    model.register_forward_hook(lambda m, _x, _y: m.kept.move_to_end("b"))
    isoinit.plan(model, torch.randn(2, 2))
    assert [*model.kept] == ["b", "a"]


class Measured(nn.Module):
    """A layer behind an operation that is not followed."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.first(x).sort(0)[0])


@pytest.mark.parametrize("verb", [isoinit.plan, isoinit.init, isoinit.check])
@pytest.mark.parametrize("build", [lambda: nn.Linear(4, 2), Measured], ids=["fake", "measured"])
def test_a_model_is_freed_when_nobody_holds_it(build, verb):
    model = build()
    held = weakref.ref(next(model.parameters()))
    gc.disable()
    try:
        found = verb(model, torch.randn(3, 4))
        del model
        assert held() is None, found
    finally:
        gc.enable()
