"""Runs a function on several ranks of a distributed run: real processes, talking through gloo."""

from __future__ import annotations

import multiprocessing as mp
import os
import tempfile
import time
import traceback
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

# A server that has everything loaded, from which processes start in milliseconds: `isoinit` alone
# loads nothing, and the first trace loads torch._dynamo.
_context = mp.get_context("forkserver")
_context.set_forkserver_preload(
    """isoinit.checkpoint isoinit.sparse isoinit.variational isoinit._drawing.haar.threads
    torch._dynamo torch.distributed.fsdp torch.distributed.tensor.parallel
    transformers.models.llama.modeling_llama""".split()
)
# Processes that have done their work and are there for the next, by their rank: torch remembers it.
_waiting = {}


def own_lines(text):
    """Return what a process printed, without what gloo prints in some versions of torch."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("[Gloo]"))


def on_ranks(world, function, *arguments, timeout=120, together=True):
    """What `function(rank, *arguments)` gives on each rank; its error is raised here.

    Args:
        world: how many ranks.
        function: at the top of a module.
        arguments: what can be pickled.
        timeout: seconds after which the ranks hang.
        together: whether all ranks are there at the end; those that are not give nothing.
    """
    ranks = [_waiting.pop(rank, None) or _start() for rank in range(world)]
    with tempfile.TemporaryDirectory() as folder:
        for rank, (_, pipe) in enumerate(ranks):
            pipe.send((rank, world, folder, function, arguments, timeout, together))
        deadline = time.monotonic() + timeout
        found = [_answer(pipe, deadline) for _, pipe in ranks]
    if together and all(ok for ok, _ in found):
        _waiting.update(enumerate(ranks))
    else:
        for process, _ in ranks:
            process.kill()
    errors = [text for ok, text in found if not ok and text]
    assert not errors, "\n".join(errors)
    assert not together or all(ok for ok, _ in found), "a rank ended without an answer"
    return [value for ok, value in found if ok]


def _start():
    ours, theirs = _context.Pipe()
    process = _context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _answer(pipe, deadline):
    try:
        if pipe.poll(max(0, deadline - time.monotonic())):
            return pipe.recv()
    except EOFError:
        return False, ""
    return False, "a rank hangs"


def _serve(pipe):
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # ranks talk through gloo; NCCL takes one a GPU
    with suppress(EOFError):
        while True:
            found, together = _run(*pipe.recv())
            pipe.send(found)
            if not (found[0] and together):
                os._exit(0)  # what torch would still do may wait for a rank that is gone


def _run(rank, world, folder, function, arguments, timeout, together):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout),
    )
    dist.barrier()  # one that ends at once does so when all are connected
    try:
        found = True, function(rank, *arguments)
    except BaseException:
        return (False, f"rank {rank}: {traceback.format_exc()}"), together
    if together:
        with suppress(RuntimeError):  # one that failed is gone
            dist.barrier()
            dist.destroy_process_group()
    return found, together
