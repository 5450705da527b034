"""Runs a function on several ranks of a distributed run: real processes, talking through gloo."""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import tempfile
import traceback
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

# A server that has everything loaded, from which processes start in milliseconds.
_context = mp.get_context("forkserver")
_context.set_forkserver_preload(
    """isoinit isoinit.random.kernels isoinit.haar.kernels torch.distributed.fsdp
    torch.distributed.tensor.parallel transformers.models.llama""".split()
)


def on_ranks(world, function, *arguments, timeout=120, together=True):
    """What `function(rank, *arguments)` gives on each rank; its error is raised here.

    Args:
        world: how many ranks.
        function: at the top of a module.
        arguments: what can be pickled.
        timeout: seconds after which the ranks hang.
        together: whether all ranks are there at the end; those that are not give nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = (world, folder, function, arguments, timeout, together)
        ranks = [_context.Process(target=_run, args=(rank, *work)) for rank in range(world)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(timeout)
        hanging = [rank for rank in ranks if rank.is_alive()]
        for rank in hanging:
            rank.kill()
        found = [_read(Path(folder) / f"{n}.pickle") for n in range(world)]
    errors = [text for ok, text in found if not ok and text]
    assert not errors, "\n".join(errors)
    assert not hanging, f"{len(hanging)} ranks hang"
    return [value for ok, value in found if ok]


def _read(path):
    return pickle.loads(path.read_bytes()) if path.exists() else (False, "")


def _run(rank, world, folder, function, arguments, timeout, together):
    os.environ["OMP_NUM_THREADS"] = "1"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout),
    )
    try:
        found = True, function(rank, *arguments)
    except BaseException:
        found = False, f"rank {rank}: {traceback.format_exc()}"
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(found))
    if not together:
        os._exit(0)  # what torch would still do at the end may wait for a rank that is gone
    if found[0]:
        dist.barrier()
        dist.destroy_process_group()
