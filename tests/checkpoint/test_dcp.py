"""Checkpoints that `torch.distributed.checkpoint` loads, whole and sharded."""

import io

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.fsdp import fully_shard

import isoinit
from isoinit.checkpoint import dcp as written
from isoinit.checkpoint.tensors import KINDS
from ranks import on_ranks

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def build():
    return nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30), nn.Linear(30, 10, bias=False))


def write(folder, **options):
    model = build()
    plan = isoinit.plan(model, torch.zeros(3, 40))
    plan["2.weight"] = isoinit.Orthogonal()
    isoinit.write_checkpoint(plan, model, folder, seed=4, format="dcp", **options)
    return plan.apply(model, 4).state_dict()


@pytest.mark.parametrize("chunk", [2**28, 700, 1])
@pytest.mark.parametrize("most", ["5GB", 2000])
def test_it_loads(tmp_path, monkeypatch, chunk, most):
    monkeypatch.setattr(written, "CHUNK", chunk)
    expected = write(tmp_path / "c", max_shard_size=most)
    state = {name: torch.full_like(tensor, 7) for name, tensor in expected.items()}
    dcp.load(state, checkpoint_id=tmp_path / "c")
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert isoinit.verify_checkpoint(tmp_path / "c").ok


@pytest.mark.parametrize("dtype", [d for d, kind in KINDS.items() if kind.storage], ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_a_chunk_is_what_torch_loads(dtype, shape):
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    data = bytes(tensor.reshape(-1).view(torch.uint8).numpy())
    chunk = io.BytesIO(written.chunk_head(dtype, shape) + data)
    found = torch.load(chunk, weights_only=True)
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(found, tensor)


def load(rank, folder, whole):
    model = build()
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    state = get_model_state_dict(model)
    dcp.load(state, checkpoint_id=folder)
    for name, tensor in model.state_dict().items():
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        assert torch.equal(full, whole[name]), name


def test_it_loads_into_a_sharded_model(tmp_path, monkeypatch):
    monkeypatch.setattr(written, "CHUNK", 700)
    expected = write(tmp_path / "c", max_shard_size=2000)
    on_ranks(2, load, tmp_path / "c", expected)
