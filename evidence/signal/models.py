"""The models whose signal is compared with what a plan expects of it: name -> (build, batch)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import itertools

from zoo import generative, odd, vision

WIDTH, HEADS, LAYERS, WORDS = 128, 4, 4, 512
SMALL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
}
ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}


def words(*shape: int) -> torch.Tensor:
    """Random tokens."""
    return torch.randint(3, WORDS, shape)


def images(count: int, size: int = 32) -> torch.Tensor:
    """Random images: independent standard normal pixels."""
    return torch.randn(count, 3, size, size)


def _gpt2() -> nn.Module:
    config = GPT2Config(n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS, vocab_size=WORDS, **ENDS)
    return GPT2LMHeadModel(config)


def _t5() -> nn.Module:
    size = {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 4 * WIDTH}
    return T5ForConditionalGeneration(
        T5Config(vocab_size=WORDS, num_layers=LAYERS, num_heads=HEADS, **size)
    )


def _whisper() -> nn.Module:
    sides = {
        f"{side}_{what}": n
        for side in ("encoder", "decoder")
        for what, n in (("layers", LAYERS), ("attention_heads", HEADS), ("ffn_dim", 4 * WIDTH))
    }
    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=WORDS,
            d_model=WIDTH,
            num_mel_bins=20,
            max_source_positions=32,
            max_target_positions=32,
            pad_token_id=0,
            decoder_start_token_id=1,
            **sides,
            **ENDS,
        )
    )


class Reader(nn.Module):
    """A recurrent layer between an embedding and a head."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.layers = kind(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits of every token's successor."""
        return self.head(self.layers(self.embedding(tokens))[0])


def plain(activation: type[nn.Module], depth: int = 50) -> nn.Module:
    """A plain network, 256 wide."""
    sizes = [64, *[256] * depth]
    layers = [
        part
        for before, after in itertools.pairwise(sizes)
        for part in (nn.Linear(before, after), activation())
    ]
    return nn.Sequential(*layers, nn.Linear(256, 10))


Case = tuple[Callable[[], nn.Module], Callable[[], Any]]

MODELS: dict[str, Case] = {
    "GPT-2": (_gpt2, lambda: {"input_ids": words(4, 32)}),
    "Llama": (
        lambda: LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, num_key_value_heads=2, **SMALL)),
        lambda: {"input_ids": words(4, 32)},
    ),
    "BERT": (
        lambda: BertModel(BertConfig(vocab_size=WORDS, **SMALL)),
        lambda: {"input_ids": words(4, 32)},
    ),
    "ViT": (
        lambda: ViTModel(ViTConfig(image_size=32, patch_size=8, **SMALL)),
        lambda: {"pixel_values": images(8)},
    ),
    "T5": (_t5, lambda: {"input_ids": words(4, 32), "decoder_input_ids": words(4, 24)}),
    "Whisper": (
        _whisper,
        lambda: {"input_features": torch.randn(4, 20, 64), "decoder_input_ids": words(4, 24)},
    ),
    "Mamba": (
        lambda: MambaForCausalLM(
            MambaConfig(vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=LAYERS)
        ),
        lambda: {"input_ids": words(4, 32)},
    ),
    "Mixtral": (
        lambda: MixtralForCausalLM(
            MixtralConfig(vocab_size=WORDS, num_local_experts=4, num_key_value_heads=2, **SMALL)
        ),
        lambda: {"input_ids": words(4, 32)},
    ),
    "torch's Transformer": (
        lambda: nn.Transformer(WIDTH, HEADS, LAYERS, LAYERS, 4 * WIDTH, batch_first=True),
        lambda: (torch.randn(4, 24, WIDTH), torch.randn(4, 32, WIDTH)),
    ),
    "LSTM": (lambda: Reader(nn.LSTM), lambda: words(8, 32)),
    "GRU": (lambda: Reader(nn.GRU), lambda: words(8, 32)),
    "RNN": (lambda: Reader(nn.RNN), lambda: words(8, 32)),
    "ResNet-50": (vision.ResNet50, lambda: images(8, 64)),
    "DenseNet": (vision.DenseNet, lambda: images(8)),
    "MobileNetV2": (vision.MobileNetV2, lambda: images(8)),
    "U-Net": (vision.UNet, lambda: images(8)),
    "ConvNeXt": (vision.ConvNeXt, lambda: images(8)),
    "MLP-Mixer": (vision.Mixer, lambda: images(8)),
    "SIREN": (generative.Siren, lambda: torch.rand(256, 2)),
    "NeRF": (generative.NeRF, lambda: (torch.rand(64, 3), torch.rand(64, 3))),
    "autoencoder": (generative.Autoencoder, lambda: torch.rand(64, 64)),
    "VAE": (generative.VAE, lambda: torch.rand(64, 64)),
    "GAN": (generative.Gan, lambda: torch.randn(64, 16)),
    "diffusion U-Net": (
        generative.DiffusionUNet,
        lambda: (images(8), torch.rand(8) * 1000),
    ),
    "normalizing flow": (generative.Flow, lambda: torch.randn(64, 8)),
    "graph network": (
        odd.GraphNetwork,
        lambda: (torch.randn(64, 4), torch.randint(64, (2, 256))),
    ),
    "equilibrium": (odd.Equilibrium, lambda: torch.randn(64, 4)),
    "experts in stacks": (odd.Expert, lambda: torch.randn(64, 8)),
    **{
        f"50 layers of {activation.__name__}": (
            lambda activation=activation: plain(activation),  # type: ignore[misc]
            lambda: torch.randn(64, 64),
        )
        for activation in (nn.ReLU, nn.Tanh, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.Sigmoid)
    },
}
