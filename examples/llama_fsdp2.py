"""A small Llama learns its own source, from the same weights on any number of processes.

python examples/llama_fsdp2.py                              # one process
torchrun --nproc-per-node 4 examples/llama_fsdp2.py         # four, fully sharded

Every line of the output is the same, but for rounding in the losses: the sums of a step have another
order when their parts lie on several processes.
"""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

import isoinit

CONFIG = LlamaConfig(
    vocab_size=256,  # bytes
    hidden_size=96,
    intermediate_size=256,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
BATCH, LENGTH, STEPS = 16, 64, 10


def main() -> None:
    """Build on the meta device, shard, apply the plan, train."""
    distributed = "RANK" in os.environ
    if distributed:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_default_device(device)

    with torch.device("meta"):  # no memory yet, whatever the size
        model = LlamaForCausalLM(CONFIG)
    plan = isoinit.plan(model)
    if distributed:
        mesh = init_device_mesh(device.type, (ranks,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    plan.apply(model, seed=0)  # memory for this rank's parts; rotary tables get their values
    print_once(rank, f"fingerprint {isoinit.fingerprint(model)}")

    text = torch.tensor(list(Path(__file__).read_bytes()))
    starts = torch.Generator(device=device).manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(STEPS):
        first = torch.randint(len(text) - LENGTH, (BATCH,), generator=starts)
        batch = torch.stack([text[i : i + LENGTH] for i in first.tolist()])
        mine = batch.chunk(ranks)[rank]
        loss = model(input_ids=mine, labels=mine).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print_once(rank, f"step {step:2d} loss {mean_over_ranks(loss.detach(), ranks):.4f}")
    if distributed:
        dist.barrier()
        dist.destroy_process_group()


def mean_over_ranks(loss: torch.Tensor, ranks: int) -> float:
    """The loss of the whole batch."""
    if ranks > 1:
        dist.all_reduce(loss)
    return float(loss) / ranks


def print_once(rank: int, text: str) -> None:
    """Say something on one rank."""
    if rank == 0:
        print(text, flush=True)


if __name__ == "__main__":
    main()
