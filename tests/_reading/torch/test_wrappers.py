"""A wrapped model is read as the model that it wraps."""

import functools

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.utils.checkpoint import checkpoint

import isoinit
from ranks import on_ranks


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    """Two blocks; `how` runs a block."""

    def __init__(self, how=lambda block, x: block(x)):
        super().__init__()
        torch.manual_seed(0)
        self.blocks, self.head = nn.ModuleList([Block(), Block()]), nn.Linear(8, 3)
        self.how = how

    def forward(self, x):
        for block in self.blocks:
            x = self.how(block, x)
        return self.head(x)


X = torch.randn(4, 8)


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A real process group of one process."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def facts(model, x=X):
    return [(e.name, e.role, e.initializer, e.shape) for e in isoinit.plan(model, x)]


def checkpointed(reentrant):
    return functools.partial(
        lambda block, x, mode: checkpoint(block, x, use_reentrant=mode), mode=reentrant
    )


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant):
    assert facts(Net(checkpointed(reentrant))) == facts(Net())


def test_checkpoint_wrapper():
    model = Net()
    model.blocks[0] = checkpoint_wrapper(model.blocks[0])
    assert facts(model) == facts(Net())


def test_compiled_as_a_whole_and_in_part():
    assert facts(torch.compile(Net())) == facts(Net())
    model = Net()
    model.blocks[0] = torch.compile(model.blocks[0])
    assert facts(model) == facts(Net())
    model = Net()
    model.compile()
    assert facts(model) == facts(Net())


def test_distributed_data_parallel(group):
    assert facts(nn.parallel.DistributedDataParallel(Net())) == facts(Net())


def shard(model, mesh):
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def test_fully_sharded(group):
    model = shard(Net(), group)
    before = {name: (id(p), p.to_local().clone()) for name, p in model.named_parameters()}
    assert facts(model) == facts(Net())
    for name, parameter in model.named_parameters():
        assert id(parameter) == before[name][0]
        assert torch.equal(parameter.to_local(), before[name][1])
    assert model(X).shape == (4, 3)  # and it still runs
    assert facts(model) == facts(Net())


def test_fully_sharded_on_the_meta_device(group):
    with torch.device("meta"):
        model = Net()
    assert facts(shard(model, group)) == facts(Net())


def test_fully_sharded_by_flat_parameters(group):
    model = FullyShardedDataParallel(Net(), use_orig_params=True, device_id=torch.device("cpu"))
    assert facts(model) == facts(Net())


def plan_on_a_rank(rank):
    model = shard(Net(), init_device_mesh("cpu", (2,)))
    assert facts(model) == facts(Net())


def test_fully_sharded_over_two_processes():
    on_ranks(2, plan_on_a_rank)
