"""Planning a Llama on the meta device by depth, against `torch.export`, which reads it too.

The widths are those of a model of 1.5 billion parameters with 16 layers; nothing is allocated. Time
in proportion to the number of operations is the line that this shows.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
import transformers as hf
from torch import nn

import isoinit
from benchmarks.timing import Row, emit, timed, timed_first

DEPTHS = (4, 16, 50, 100)


def llama(layers: int) -> nn.Module:
    """A Llama of some layers without memory."""
    config = hf.LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        use_cache=False,
    )
    with torch.device("meta"):
        return hf.LlamaForCausalLM(config).eval()


def export(model: nn.Module, batch: dict[str, Any]) -> None:
    with torch.no_grad():
        torch.export.export(model, (), batch, strict=False)


def rows() -> list[Row]:
    hf.logging.set_verbosity_error()
    found = []
    for layers in DEPTHS[:2] if "quick" in sys.argv else DEPTHS:
        model = llama(layers)
        ids = torch.zeros(1, 16, dtype=torch.long)
        operations = len(isoinit.read(model, {"input_ids": ids}).graph.ops)
        size = sum(p.numel() for p in model.parameters()) / 1e9
        found.append(
            Row(
                f"{layers} layers, {size:.1f} G parameters, {operations:,} operations",
                "torch.export",
                timed(partial(isoinit.plan, model, {"input_ids": ids})),
                timed_first(partial(export, model, {"input_ids": ids.to("meta")})),
            )
        )
    return found


if __name__ == "__main__":
    emit(rows())
