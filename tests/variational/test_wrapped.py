"""Converted models in data parallel, fully sharded, compiled and mixed-precision training."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

import isoinit
from isoinit.variational import NormalPrior, at_prior, convert, elbo, kl
from ranks import on_ranks

X = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(2)
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def made(prior=1.0, noise="common"):
    model = Net()
    return convert(model, isoinit.plan(model, X), scale=0.3, prior=prior, noise=noise, seed=0)


def train(model, x, y, parameters=None):
    """Three steps; the losses."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(3):
        torch.manual_seed(step)
        loss = elbo(nn.functional.cross_entropy(model(x), y), model, n_data=100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_compiled_steps_are_the_plain_ones():
    def made():
        return convert(nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4)), seed=1)

    assert train(torch.compile(made()), X, Y) == pytest.approx(train(made(), X, Y), rel=1e-5)


@pytest.mark.parametrize("noise", ["common", "local", "flipout"])
def test_gradients_under_autocast(noise):
    found = []
    for mixed in (False, True):
        model = made(noise=noise)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            elbo(nn.functional.cross_entropy(model(X), Y), model, n_data=100).backward()
        found.append([p.grad for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert other.dtype == torch.float32
        assert torch.cosine_similarity(one.flatten(), other.flatten(), 0) > 0.95


def train_on_a_rank(rank):
    mesh = init_device_mesh("cpu", (2,))
    mine = slice(4 * rank, 4 * rank + 4)
    for prior in (1.0, NormalPrior(0.5, "start")):
        alone = made(prior)
        expected = train(alone, X, Y)
        start = kl(made(prior)).item()

        # Every rank makes the draw of the one process, so that half a batch each is the whole batch.
        data = DistributedDataParallel(made(prior))
        losses = torch.tensor(train(data, X[mine], Y[mine]))
        dist.all_reduce(losses)
        assert (losses / 2).tolist() == pytest.approx(expected, rel=1e-5)

        sharded = made(prior)
        for block in sharded.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        assert kl(sharded).item() == pytest.approx(start, rel=1e-6)
        losses = torch.tensor(train(sharded, X[mine], Y[mine]))
        dist.all_reduce(losses)
        assert (losses / 2).tolist() == pytest.approx(expected, rel=1e-5)
        for name, parameter in alone.named_parameters():
            whole = sharded.get_parameter(name).full_tensor()
            torch.testing.assert_close(whole, parameter, rtol=1e-4, atol=1e-5)
        assert at_prior(sharded) == at_prior(alone)

    half = made()
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    fully_shard(half, mesh=mesh, mp_policy=policy)
    mixed = torch.tensor(train(half, X[mine], Y[mine]))
    dist.all_reduce(mixed)
    assert (mixed / 2).tolist() == pytest.approx(train(made(), X, Y), rel=0.05)


def test_data_parallel_and_fully_sharded_over_two_processes():
    on_ranks(2, train_on_a_rank)


def test_with_checkpointed_blocks_fully_sharded(tmp_path):
    from torch.utils.checkpoint import checkpoint

    init = f"file://{tmp_path / 'store'}"
    dist.init_process_group("gloo", init_method=init, rank=0, world_size=1)
    try:
        model = made()
        for block in model.blocks:
            plain = block.forward
            block.forward = lambda x, plain=plain: checkpoint(plain, x, use_reentrant=False)
            fully_shard(block, mesh=init_device_mesh("cpu", (1,)))
        assert train(model, X, Y) == pytest.approx(train(made(), X, Y), rel=1e-5)
    finally:
        dist.destroy_process_group()
