# sharded.py
"""Trains the large GPT on any number of processes: torchrun --nproc-per-node 2 sharded.py."""

import os

import torch
import torch.distributed as dist
from gpt import GPT
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim.lr_scheduler import LambdaLR
from tune import batches

import isoinit


def main(steps=10):
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    mesh = init_device_mesh(device.type, (ranks,))

    t = isoinit.Transfer(isoinit.Plan.load("plan.json"))  # the small model is no longer needed
    with torch.device("meta"):  # no memory yet, whatever the size
        model = GPT(width=128, depth=4)
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    t.plan.apply(model, seed=0)  # memory and values for this rank's parts

    optimizer = torch.optim.AdamW(t.groups(model, lr=2**-6, weight_decay=0.1))
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5))
    for step, ids in enumerate(batches(steps)):
        mine = ids.chunk(ranks)[rank].to(device)
        loss = model(mine, labels=mine)["loss"]
        loss.backward()
        norm = t.clip_grad_norm_(model, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        t.verify(optimizer)
        mean = loss.detach() / ranks
        dist.all_reduce(mean)
        if rank == 0:
            print(f"step {step:2d} loss {mean:.4f} norm {norm:.4f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
