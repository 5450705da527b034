"""What ranks do together: agree, and fail as one. Alone nothing is distributed."""

import os
import signal
import time

import pytest
import torch
import torch.distributed as dist

from isoinit.errors import ArgumentError, IsoinitError
from isoinit.ranks import agree, joined, rank_and_size, together


def test_alone(monkeypatch):
    assert rank_and_size() == (0, 1)
    assert agree(None) == [None]
    with joined(), together("working"):
        assert not dist.is_initialized()
    with pytest.raises(KeyError), together("working"):
        raise KeyError("x")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="WORLD_SIZE is 2 and there is no process group"):
        rank_and_size()


def start(rank, store, ranks):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)


def _work(rank):
    with together("working"):
        if rank == 1:
            raise ValueError("on rank 1 alone")


def _agree_and_fail(rank, store, ranks):
    start(rank, store, ranks)
    assert rank_and_size() == (rank, ranks)
    assert agree({"rank": rank} if rank else None) == [
        None,
        *({"rank": n} for n in range(1, ranks)),
    ]
    with together("working"):
        pass
    error, words = (
        (ValueError, "on rank 1 alone")
        if rank == 1
        else (IsoinitError, "working failed on rank 1: ValueError: on rank 1 alone")
    )
    with pytest.raises(error, match=words):
        _work(rank)
    assert agree(rank) == list(range(ranks))  # in step as before
    dist.destroy_process_group()


def test_together(tmp_path):
    torch.multiprocessing.spawn(_agree_and_fail, (tmp_path / "store", 3), nprocs=3)


def _lose_a_rank(rank, store, folder):
    start(rank, store, 2)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(IsoinitError, match="a rank of the run is gone"), together("working"):
        time.sleep(0.2)
    (folder / "told").touch()


def test_a_rank_that_is_killed(tmp_path):
    arguments = (tmp_path / "store", tmp_path)
    context = torch.multiprocessing.spawn(_lose_a_rank, arguments, nprocs=2, join=False)
    for process in context.processes:
        process.join(60)
    assert [process.exitcode for process in context.processes] == [0, -signal.SIGKILL]
    assert (tmp_path / "told").exists()
