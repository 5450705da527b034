"""Filling a model under `fully_shard`: two processes beside one, and beside a broadcast from one.

Each process has one processor. The peer of the second row is what is done where weights depend on how
a model is spread: one rank initializes the whole and sends the others their parts.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

import isoinit
from benchmarks.timing import Row, emit, timed_first

SIZES = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12}
CONFIG = LlamaConfig(**SIZES, num_attention_heads=16, vocab_size=32000)
REPEATS = 5


def build() -> nn.Module:
    with torch.device("meta"):
        return LlamaForCausalLM(CONFIG)


def sharded() -> nn.Module:
    model = build()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh).to_empty(device="cpu")


def broadcast(model: nn.Module, plan: isoinit.Plan) -> None:
    """Draw the whole on rank 0, as fast as we can, and send the parts."""
    whole = {}
    if dist.get_rank() == 0:
        full = plan.apply(build(), seed=0)
        whole = dict(full.state_dict())
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, whole, options=options)


def on_a_rank(rank: int, ranks: int, folder: str, way: str) -> None:
    """Write the median time, and how far the peak of memory lies above the model's own part."""
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[rank]])
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    plan = isoinit.plan(build())
    model = sharded()
    fill = partial(plan.apply, model) if way == "plan" else partial(broadcast, model, plan)
    fill()  # loads what is loaded once
    times = []
    for _ in range(REPEATS):
        dist.barrier()
        times.append(timed_first(fill))
    Path(folder, f"{rank}").write_text(f"{median(times)} {peak()}")
    dist.barrier()
    dist.destroy_process_group()


def peak() -> int:
    """The most memory that this process had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(ranks: int, way: str) -> tuple[float, list[int]]:
    """The time of the slowest rank, and each one's peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(on_a_rank, (ranks, folder, way), nprocs=ranks)
        found = [Path(folder, str(rank)).read_text().split() for rank in range(ranks)]
    return max(float(time) for time, _ in found), [int(most) for _, most in found]


def rows() -> list[Row]:
    size = sum(parameter.numel() for parameter in build().parameters()) / 1e6
    one, alone = measure(1, "plan")
    two, apart = measure(2, "plan")
    sent, together = measure(2, "broadcast")
    case = f"Llama, {size:.0f} M parameters, two processes under fully_shard"
    for way, memory in (("one", alone), ("two", apart), ("broadcast", together)):
        print(way, [f"{most / 2**20:.0f} MiB" for most in memory], file=sys.stderr)
    return [
        Row(case, "one process, apply", two, one),
        Row(case, "rank 0 and broadcast", two, sent),
    ]


if __name__ == "__main__":
    emit(rows())
