"""Ranks that differ, fail or are gone are found before anything is written; none is left waiting."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import isoinit
from isoinit._system.processes import agree, gathered, joined, rank_and_size, together
from isoinit.errors import ArgumentError, PlanError, RankError
from ranks import on_ranks, own_lines

X = torch.ones(2, 6)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def sharded(shape=(3,)):
    model = network()
    names = ("copies", "parts")[-len(shape) :]
    return fully_shard(model, mesh=init_device_mesh("cpu", shape, mesh_dim_names=names))


def untouched(model, error, match, **arguments):
    before = [p.to_local().clone() for p in model.parameters()]
    with pytest.raises(error, match=match):
        isoinit.plan(network(), X).apply(model, **arguments)
    assert all(
        torch.equal(a, p.to_local()) for a, p in zip(before, model.parameters(), strict=True)
    )


def another_seed(rank):
    model = sharded()
    untouched(model, RankError, "rank 1 with seed '5' instead of '0'", seed=5 if rank == 1 else 0)


def test_another_seed():
    on_ranks(3, another_seed)


def another_seed_on_a_mesh(rank):
    """The one rank shares no dimension of the mesh with rank 0, which hears of it all the same."""
    match = "rank 3 with seed '5' instead of '0'"
    untouched(sharded((2, 2)), RankError, match, seed=5 if rank == 3 else 0)


def test_another_seed_on_a_mesh():
    on_ranks(4, another_seed_on_a_mesh)


def one_without_a_seed(rank):
    match = "rank 1 with seed 'None' instead of '3'"
    untouched(sharded(), RankError, match, seed=None if rank == 1 else 3)


def test_one_without_a_seed():
    on_ranks(3, one_without_a_seed)


def own_seeds(rank):
    """Ranks with generators of their own; a weight that follows from another is drawn anew."""
    model = sharded((2, 2))
    copy = nn.parallel.DistributedDataParallel(cubed())
    plans = isoinit.plan(network(), X), isoinit.plan(cubed(), X)
    torch.manual_seed(rank)
    plans[0].apply(model)
    plans[1].apply(copy)
    left = int(torch.randint(2**31, ()))
    prints = [str(isoinit.fingerprint(each)) for each in (model, copy)]
    return [plan.seed for plan in plans], prints, left


class Cubed(nn.Module):
    def forward(self, x):
        return x**3

    def right_inverse(self, w):
        return w.sign() * w.abs() ** (1 / 3)


def cubed():
    model = network()
    nn.utils.parametrize.register_parametrization(model[0], "weight", Cubed())
    return model


def test_without_a_seed_all_take_the_first_ranks_draw():
    expected = []
    for rank in range(4):
        models = network(), cubed()
        torch.manual_seed(rank)
        seeds = [isoinit.init(model, X).seed for model in models]
        prints = [str(isoinit.fingerprint(model)) for model in models]
        expected.append((seeds, prints, int(torch.randint(2**31, ()))))
    found = on_ranks(4, own_seeds)
    assert [each[:2] for each in found] == [expected[0][:2]] * 4
    assert [left for *_, left in found] == [left for *_, left in expected]
    assert expected[0][0] != expected[1][0]


def another_plan(rank):
    plan = isoinit.plan(network(), X)
    if rank > 0:
        plan["0.weight"] = isoinit.Normal(std=0.5)
    with pytest.raises(
        RankError, match=r"rank 0 with plan '\w+' instead of '\w+' \(as ranks 1, 2\)"
    ):
        plan.apply(sharded(), seed=0)


def test_another_plan():
    on_ranks(3, another_plan)


def another_type(rank):
    model = network()
    model = model.double() if rank == 2 else model
    fully_shard(model, mesh=init_device_mesh("cpu", (3,)))
    error, match = PlanError, "is float64, but the plan expects float32"
    if rank != 2:
        error, match = (
            RankError,
            "rank 2 failed: PlanError: .*is float64, but the plan expects float32",
        )
    untouched(model, error, match)


def test_a_rank_that_fails_tells_the_others():
    on_ranks(3, another_type)


def another_version(rank):
    from isoinit._drawing.streams import philox

    known = philox.DEFINITION
    philox.DEFINITION = 99 if rank == 0 else known
    try:
        untouched(sharded(), RankError, "rank 0 with streams '99' instead of '1'")
    finally:
        philox.DEFINITION = known


def test_another_version_of_the_streams():
    on_ranks(3, another_version)


def copies_differ(rank):
    model = nn.parallel.DistributedDataParallel(network())
    with pytest.raises(RankError, match="seed"):
        isoinit.plan(network(), X).apply(model, rank)


def test_copies_are_compared_too():
    on_ranks(2, copies_differ)


def one_is_gone(rank):
    model = sharded()
    if rank == 1:
        os._exit(3)
    start = time.monotonic()
    untouched(model, RankError, "a rank has stopped or made a different call")
    return time.monotonic() - start


def test_a_rank_that_is_gone_leaves_nobody_waiting():
    waited = on_ranks(3, one_is_gone, timeout=60, together=False)
    assert len(waited) == 2
    assert max(waited) < 30


def counted(rank):
    """One rank with a plain model does not wait for others that have none."""
    if rank == 0:
        isoinit.init(network(), X, seed=0)
    dist.barrier()


def test_a_plain_model_is_one_ranks_own_affair():
    on_ranks(2, counted)


def fail_as_one(rank):
    assert gathered({"rank": rank} if rank else None) == [None, {"rank": 1}, {"rank": 2}]
    with together("working"):
        pass
    error, words = RankError, "working failed on rank 1: ValueError: on rank 1 alone"
    if rank == 1:
        error, words = ValueError, "on rank 1 alone"
    with pytest.raises(error, match=words), together("working"):  # noqa: PT012
        if rank == 1:
            raise ValueError("on rank 1 alone")
    assert gathered(rank) == [0, 1, 2]  # in step as before


def test_together():
    on_ranks(3, fail_as_one)


def lost_in_the_middle(rank):
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(RankError, match="a rank has stopped"), together("working"):
        time.sleep(0.2)
    return "told"


def test_a_rank_that_is_killed():
    assert on_ranks(2, lost_in_the_middle, together=False) == ["told"]


def test_alone(monkeypatch):
    assert rank_and_size() == (0, 1)
    assert gathered(None) == [None]
    with joined(), together("working"):
        assert not dist.is_initialized()
    with pytest.raises(KeyError), together("working"):
        raise KeyError("x")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="WORLD_SIZE is 2 but there is no process group"):
        rank_and_size()


def test_outside_of_a_run():
    assert agree(lambda: (lambda: {"seed": "0"}, "offered", "found"), ()) == ("offered", "found")
    with pytest.raises(ValueError, match="mine"):
        agree(lambda: (dict, None, int("mine")), ())


HOLDS = """
import glob
from isoinit._system.processes import gathered, joined

with joined():
    assert gathered("x") == ["x", "x"]
    import torch.distributed.nn.functional  # as a plan does: its defaults take the group that is there
names = [open(path).read() for path in glob.glob("/proc/self/task/*/comm")]
print([name for name in names if "gloo" in name or "tcpstore" in name])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads have no names here")
def test_no_thread_of_a_group_outlives_it():
    """Such threads meet the end of the interpreter, which rank 0 did not always survive."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDS],
            env={**launched, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [own_lines(process.communicate(timeout=120)[0]) for process in ranks]
    assert told == ["[]\n", "[]\n"]
