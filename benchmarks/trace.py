"""Planning models of `transformers`, against one forward of the same small model."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers as hf
from torch import nn

import isoinit
from benchmarks.timing import Row, compare, emit

SMALL = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
IDS = torch.zeros(1, 16, dtype=torch.long)


def models() -> dict[str, tuple[nn.Module, Any]]:
    """The models with an example each, all of 4 layers (encoders and decoders each) and random."""
    hf.logging.set_verbosity_error()
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt2 = hf.GPT2Config(vocab_size=128, n_embd=64, n_layer=4, n_head=4, **ends)
    llama = hf.LlamaConfig(**SMALL, **ends)
    bert = hf.BertConfig(**SMALL)
    vit = hf.ViTConfig(**{**SMALL, "image_size": 32, "patch_size": 8})
    t5 = hf.T5Config(vocab_size=128, d_model=64, d_kv=16, d_ff=128, num_layers=4, num_heads=4)
    mamba = hf.MambaConfig(vocab_size=128, hidden_size=64, num_hidden_layers=4)
    ids = {"input_ids": IDS}
    return {
        "GPT-2": (hf.GPT2LMHeadModel(gpt2), ids),
        "Llama": (hf.LlamaForCausalLM(llama), ids),
        "BERT": (hf.BertForMaskedLM(bert), ids),
        "ViT": (hf.ViTForImageClassification(vit), {"pixel_values": torch.zeros(1, 3, 32, 32)}),
        "T5": (hf.T5ForConditionalGeneration(t5), {**ids, "decoder_input_ids": IDS}),
        "Mamba": (hf.MambaForCausalLM(mamba), ids),
    }


def forward(model: nn.Module, batch: Any) -> None:
    with torch.no_grad():
        model(**batch)


def rows() -> list[Row]:
    return [
        compare(
            f"{name}, {len(list(model.parameters()))} parameters",
            partial(isoinit.plan, model, batch),
            "one forward",
            partial(forward, model.eval(), batch),
            repeats=5,
        )
        for name, (model, batch) in models().items()
    ]


if __name__ == "__main__":
    emit(rows())
