"""A fingerprint is that of the weights: any change shows, and how they are spread does not."""

import itertools

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import isoinit
from isoinit._drawing.hashing import hash_sum, tensor_key
from isoinit._drawing.shard import Piece
from isoinit.errors import PlanError, RankError
from ranks import on_ranks

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@settings(deadline=None)
@given(st.integers(0, 1), st.integers(1, 4), st.sampled_from([Piece.shard, Piece.strided_shard]))
def test_the_parts_add_up_to_the_whole(axis, parts, cut):
    values = np.random.default_rng(0).normal(size=(11, 7)).astype(np.float32)
    whole = Piece.whole(values.shape)
    total = 0
    for index in range(parts):
        extra = (3,) if cut is Piece.strided_shard else ()
        piece = cut(whole, axis, parts, index, *extra)
        part = np.empty(piece.held, np.float32)
        piece.take(values.reshape(-1)[slice(*piece.rows)], part)
        total += hash_sum(part.reshape(-1), piece, 99)
    assert total % 2**64 == hash_sum(values.reshape(-1), whole, 99)


def network(dtype=torch.float32):
    return nn.Sequential(
        nn.Embedding(13, 6, padding_idx=2, dtype=dtype),
        nn.Linear(6, 10, dtype=dtype),
        nn.Tanh(),
        nn.Linear(10, 6, dtype=dtype),
    )


IDS = torch.zeros(1, 2, dtype=torch.long)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("method", ["auto", "orthogonal", "sparse"])
def test_of_a_plan_and_of_its_model(dtype, method, monkeypatch):
    plan = isoinit.plan(network(dtype), IDS, method=method)
    found = isoinit.fingerprint(plan.apply(network(dtype), 3))
    assert found == plan.fingerprint(3)
    assert str(found) == str(plan.fingerprint(3))
    monkeypatch.setattr("isoinit._writing.fingerprint._TOGETHER", 17)
    assert found == plan.fingerprint(3)
    assert found != plan.fingerprint(4)
    assert len(str(found)) == 32


def changed(change):
    model = network()
    plan = isoinit.plan(model, IDS)
    plan.apply(model, seed=0)
    with torch.no_grad():
        change(model)
    return isoinit.fingerprint(model).differences(plan.fingerprint())


def test_every_change_shows():
    def last_bit(model):
        model[1].weight.view(torch.int32)[3, 2] ^= 1

    def swapped(model):
        model[3].weight[[0, 1]] = model[3].weight[[1, 0]].clone()

    def negative_zero(model):
        model[1].bias[4] = -0.0

    assert changed(lambda model: None) == []
    assert changed(last_bit) == ["1.weight"]
    assert changed(swapped) == ["3.weight"]
    assert changed(negative_zero) == ["1.bias"]


def test_name_type_and_shape_count():
    base = tensor_key("a", "torch.float32", (2, 3))
    others = [
        ("b", "torch.float32", (2, 3)),
        ("a", "torch.float16", (2, 3)),
        ("a", "torch.float32", (3, 2)),
    ]
    assert len({base, *(tensor_key(*other) for other in others)}) == 4


def test_no_two_of_many_single_changes_are_alike():
    """10,000 changes of one element; among so many 64-bit numbers a pair has chance 3e-12."""
    values, whole = np.zeros(100, np.float32), Piece.whole((100,))
    found = set()
    for place, value in itertools.product(range(100), range(1, 101)):
        values[place] = value
        found.add(hash_sum(values, whole, 1))
        values[place] = 0
    assert len(found) == 10_000


def test_what_a_plan_leaves_is_not_in_its_fingerprint():
    from dataclasses import replace

    plan = isoinit.plan(network(), IDS)
    plan.entries["1.bias"] = replace(plan["1.bias"], initializer=None)
    assert isoinit.fingerprint(network()).differences(plan.fingerprint()).count("1.bias") == 1
    assert "1.bias" not in plan.fingerprint().tensors


def test_without_values():
    with pytest.raises(PlanError, match=r"'0\.weight' has no values"):
        isoinit.fingerprint(network().to("meta"))


def spread(rank):
    world = dist.get_world_size()
    plan = isoinit.plan(network(), IDS, method="orthogonal")
    models = [nn.parallel.DistributedDataParallel(network()), network()]
    mesh = init_device_mesh("cpu", (world,))
    models.append(fully_shard(network(), mesh=mesh))
    models.append(FullyShardedDataParallel(network(), device_id=torch.device("cpu")))
    if world == 4:
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
        for fully in (mesh["data"], mesh):
            model = network()
            if fully.ndim == 1:
                parallelize_module(model[1], mesh["tensor"], ColwiseParallel())
            models.append(fully_shard(model, mesh=fully))
    found = {str(isoinit.fingerprint(plan.apply(model, 5))) for model in models}
    assert found == {str(plan.fingerprint(5))}
    return found.pop()


def test_the_same_on_any_number_of_ranks():
    assert len({found for world in (1, 2, 4) for found in on_ranks(world, spread)}) == 1


def unequal(rank):
    mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("copies", "parts"))
    model = fully_shard(network(), mesh=mesh)
    isoinit.init(model, IDS, seed=0)
    isoinit.fingerprint(model)
    with torch.no_grad():
        model[1].weight.to_local()[0, 0] += rank
    with pytest.raises(RankError, match=r"copies of parameter '1\.weight' differ"):
        isoinit.fingerprint(model)
    model = nn.parallel.DistributedDataParallel(network())
    with torch.no_grad():
        model.module[3].bias += rank
    with pytest.raises(RankError, match=r"copies of parameter '3\.bias' differ"):
        isoinit.fingerprint(model)


def test_copies_that_differ():
    on_ranks(2, unequal)


def stages(rank):
    plan = isoinit.plan(network(), IDS)
    model = network()
    kept = nn.ModuleDict({n: m for n, m in model.named_children() if (int(n) < 2) == (rank == 0)})
    plan.apply(kept, 5)
    assert isoinit.fingerprint(kept) != plan.fingerprint(5)
    assert isoinit.fingerprint(kept, dist.group.WORLD) == plan.fingerprint(5)


def test_stages_of_a_pipeline():
    on_ranks(2, stages)


def gone(rank):
    model = fully_shard(network(), mesh=init_device_mesh("cpu", (2,)))
    if rank == 1:
        import os

        os._exit(1)
    with pytest.raises(RankError, match="a rank has stopped"):
        isoinit.fingerprint(model)
    return "told"


def test_a_rank_that_is_gone():
    assert on_ranks(2, gone, together=False) == ["told"]
