"""Wrapped, sharded, compiled, recomputed and mixed-precision models are measured like plain ones."""

import functools

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import isoinit
from ranks import on_ranks


class Net(nn.Module):
    def __init__(self, call=None):
        super().__init__()
        self.inner = nn.Linear(16, 32)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(3)
        )
        self.head = nn.Linear(32, 5)
        self.call = call or (lambda block, x: block(x))

    def forward(self, x):
        x = self.inner(x)
        for block in self.blocks:
            x = x + self.call(block, x)
        return self.head(x)


X = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))


def made(call=None):
    model = Net(call)
    isoinit.init(model, X, seed=1)
    return model


def loss(y):
    return y.square().mean()


def facts(model, **more):
    health = isoinit.check(model, X, loss=loss, **more)
    assert health.ok, str(health)
    layers = {x.name: (x.rms, x.gradient) for x in health.layers}
    return layers, {w.name: w.gradient for w in health.weights}


def alike(one, other, rel=1e-5):
    for got, expected in zip(one, other, strict=True):
        assert got.keys() == expected.keys()
        for name in expected:
            assert got[name] == pytest.approx(expected[name], rel=rel), name


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant):
    call = functools.partial(
        lambda block, x, mode: checkpoint(block, x, use_reentrant=mode), mode=reentrant
    )
    layers, gradients = facts(made(call))
    plain_layers, plain_gradients = facts(made())
    assert gradients == pytest.approx(plain_gradients, rel=1e-5)
    assert {n: v[0] for n, v in layers.items()} == pytest.approx(
        {n: v[0] for n, v in plain_layers.items()}
    )


def test_compiled():
    alike(facts(torch.compile(made())), facts(made()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    with torch.autocast("cpu", dtype):
        mixed = facts(made())
    alike(mixed, facts(made()), rel=0.03)


def test_hooks_that_step_an_optimizer_rest():
    model = made()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def step(parameter):
        parameter.data.sub_(parameter.grad)

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    facts(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    loss(model(X)).backward()
    assert not torch.equal(model.head.weight, before["head.weight"])


def test_gradients_that_are_there_stay():
    model = made()
    model.head.weight.grad = held = torch.ones(5, 32)
    batch = X.clone().requires_grad_()
    temperature = nn.Parameter(torch.ones(()))
    isoinit.check(model, batch, loss=lambda y: (y / temperature).square().mean())
    assert temperature.grad is None
    assert model.head.weight.grad is held
    assert torch.equal(held, torch.ones(5, 32))
    assert model.head.bias.grad is None
    assert batch.grad is None


def test_a_forward_that_writes_into_its_parameters_and_its_batch():
    class Clamping(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(20, 8, max_norm=0.5)
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, tokens, x):
            with torch.no_grad():
                self.weight.clamp_(-0.1, 0.1)
                self.weight.data[0] *= 2
            x.sub_(x.mean())
            return self.table(tokens) @ self.weight + x

    model, x = Clamping(), torch.randn(6, 8) + 3
    tokens = torch.arange(6)
    before = [t.detach().clone() for t in (*model.parameters(), x)]
    isoinit.check(model, (tokens, x))
    assert all(torch.equal(a, b) for a, b in zip((*model.parameters(), x), before, strict=True))


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A real process group of one process."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_data_parallel():
    model = DistributedDataParallel(made())
    alike(facts(model), facts(made()))
    loss(model(X)).backward()  # its reducer still works
    assert model.module.head.weight.grad is not None


def shard(model, mesh, **more):
    for block in model.blocks:
        fully_shard(block, mesh=mesh, **more)
    return fully_shard(model, mesh=mesh, **more)


def check_on_a_rank(rank):
    mesh = init_device_mesh("cpu", (2,))
    model = made()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plain = facts(model)
    model = shard(model, mesh)
    # Both ranks have the same batch, so that the mean of their gradients is the gradient.
    alike(facts(model), plain)
    assert all(p.grad is None for p in model.parameters())
    for name, p in model.named_parameters():
        assert torch.equal(p.full_tensor(), before[name])
    loss(model(X)).backward()
    assert all(p.grad is not None for p in model.parameters())
    half = shard(made(), mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16, torch.float32))
    mixed = isoinit.check(half, X, loss=loss)
    assert mixed.ok
    assert [x.rms for x in mixed.layers] == pytest.approx(
        [v[0] for v in plain[0].values()], rel=0.03
    )


def test_fully_sharded_over_two_processes():
    on_ranks(2, check_on_a_rank)


def tied(rank):
    """A tied weight is one parameter of two names; each of its modules is given the gathered one."""
    model = made()
    model.blocks[2][0].weight = model.blocks[0][0].weight
    plain = facts(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    alike(facts(model), plain)


def test_tied_in_shards():
    on_ranks(2, tied)


def copied(rank):
    """Copies are found in shards as in whole models, by all ranks alike."""
    model = made()
    for block in model.blocks[1:]:
        block.load_state_dict(model.blocks[0].state_dict())
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return [f.where for f in isoinit.check(model, X).findings if f.name == "copies"]


def test_copies_in_shards():
    where = tuple(f"blocks.{block}.{layer}.weight" for layer in (0, 2) for block in range(3))
    assert on_ranks(2, copied) == [[where]] * 2
