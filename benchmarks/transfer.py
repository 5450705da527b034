"""A transfer beside the two plans that it makes, its clipping and its groups beside torch's own."""

from __future__ import annotations

from functools import partial

import torch
import transformers as hf
from torch import nn

import isoinit
from benchmarks.timing import Row, compare, emit

IDS = {"input_ids": torch.zeros(1, 16, dtype=torch.long)}


def llama(width: int, layers: int) -> nn.Module:
    hf.logging.set_verbosity_error()
    config = hf.LlamaConfig(
        vocab_size=128,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        use_cache=False,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    return hf.LlamaForCausalLM(config)


def plans(*models: nn.Module) -> None:
    for model in models:
        isoinit.plan(model, IDS)


def rows() -> list[Row]:
    base, model = llama(64, 4), llama(128, 32)
    t = isoinit.transfer(base, model, IDS)
    model(**IDS).logits.square().sum().backward()
    mine = torch.optim.AdamW(t.groups(model, lr=1e-9), fused=True)
    plain = torch.optim.AdamW(model.parameters(), lr=1e-9, fused=True)
    name = f"Llama, {len(list(model.parameters()))} parameters"
    return [
        compare(
            f"{name}: transfer",
            partial(isoinit.transfer, base, model, IDS),
            "two plans",
            partial(plans, base, model),
            repeats=5,
        ),
        compare(
            f"{name}: a step of AdamW, {len(mine.param_groups)} groups",
            mine.step,
            "one group",
            plain.step,
        ),
        compare(
            f"{name}: clip_grad_norm_",
            partial(t.clip_grad_norm_, model, 1.0),
            "torch's",
            lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
        ),
    ]


if __name__ == "__main__":
    emit(rows())
