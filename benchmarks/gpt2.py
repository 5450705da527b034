"""GPT-2 medium built from its config and initialized, against its own constructor."""

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config

import isoinit
from benchmarks.timing import Row, compare, emit

CONFIG = GPT2Config(n_layer=24, n_head=16, n_embd=1024)
IDS = {"input_ids": torch.zeros(1, 16, dtype=torch.long)}


def build() -> nn.Module:
    return AutoModelForCausalLM.from_config(CONFIG)


def deferred() -> nn.Module:
    with isoinit.deferred():
        return build()


def rows() -> list[Row]:
    size = sum(parameter.numel() for parameter in deferred().parameters()) / 1e6
    name, found = f"GPT-2, {size:.0f} M parameters, deferred", []
    for what, ours, peer, theirs in (
        (" and init", lambda: isoinit.init(deferred(), IDS, seed=0), "from_config", build),
        ("", deferred, "from_config", build),
    ):
        found.append(compare(f"{name}{what}", ours, peer, theirs, repeats=5))
    return found


if __name__ == "__main__":
    emit(rows())
