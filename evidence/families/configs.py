"""A small model of each architecture family: its own default config with every size reduced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers as hf
from torch import nn
from transformers import PretrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

WIDTH, HEADS, LAYERS, VOCABULARY = 64, 4, 2, 512
LARGEST = 500_000_000  # parameters that a family may take at its published width

# Sizes by the names that configs give them; the first pattern that matches decides.
SIZES: list[tuple[str, int]] = [
    (r".*(vocab_size|vocabulary_size|num_embeddings)$", VOCABULARY),
    (r"(.*_)?(head_dim|d_kv|d_k|qk_nope_head_dim|v_head_dim|attention_head_dim)$", WIDTH // HEADS),
    (r"(.*_)?qk_rope_head_dim$", WIDTH // HEADS),
    (r"(.*_)?rotary_dim$", WIDTH // HEADS // 2),
    (r"(.*_)?num_(key_value|kv)_(heads|groups)$", HEADS // 2),
    (r"(.*_)?(num_(attention_)?heads|n_heads?|attention_heads|num_self_attention_heads)$", HEADS),
    (r"(.*_)?num_experts_per_tok|moe_topk|num_experts_per_token", 2),
    (r"(.*_)?(n_routed_experts|num_local_experts|num_experts|moe_num_experts)$", 4),
    (r"(.*_)?(num_(hidden_)?layers|n_layers?|layers|depth|num_blocks|num_hidden_blocks)$", LAYERS),
    (
        r"(.*_)?(intermediate_size|ffn_dim|d_ff|n_inner|ffn_hidden_size|inner_dim|d_inner)$",
        2 * WIDTH,
    ),
    (r"(.*_)?(hidden_size|d_model|n_embd|embed_dim|hidden_dim|projection_dim)$", WIDTH),
]


def families() -> list[str]:
    """The model types that have a model class of their own."""
    return sorted(name for name in CONFIG_MAPPING_NAMES if model_class(name) is not None)


def model_class(family: str) -> str | None:
    """The class of a model type: the bare model or, where there is none, the first with a head."""
    mappings = [n for n in dir(modeling_auto) if re.fullmatch(r"MODEL_.*MAPPING_NAMES", n)]
    mappings.sort(
        key=lambda n: (n != "MODEL_MAPPING_NAMES", n != "MODEL_FOR_BACKBONE_MAPPING_NAMES", n)
    )
    for mapping in mappings:
        name = getattr(modeling_auto, mapping).get(family)
        if name is not None:
            return str(name) if isinstance(name, str) else str(name[0])
    return None


def build(family: str, reduce: Callable[[PretrainedConfig], None]) -> tuple[nn.Module, Any]:
    """The model of a family with its sizes reduced, and its config.

    Raises:
        MemoryError: if it is still too large.
    """
    kind = getattr(hf, str(model_class(family)))
    config = getattr(hf, CONFIG_MAPPING_NAMES[family])()
    reduce(config)
    if reduce is shallow:
        with torch.device("meta"):
            size = sum(p.numel() for p in kind(config).parameters())
        if size > LARGEST:
            raise MemoryError(f"{size:,} parameters at the published width")
    return kind(config).eval(), config


def small(config: PretrainedConfig) -> None:
    """Every size reduced."""
    for part in parts(config):
        for name, value in list(vars(part).items()):
            size = next((s for pattern, s in SIZES if re.fullmatch(pattern, name)), None)
            if size is None or isinstance(value, bool):
                continue
            if isinstance(value, int) and value > size:
                setattr(part, name, size)
        _fit(part)


def shallow(config: PretrainedConfig) -> None:
    """Few layers of the published width, for configs whose widths depend on each other."""
    layers = SIZES[7][0]
    for part in parts(config):
        for name, value in list(vars(part).items()):
            if isinstance(value, int) and re.fullmatch(layers, name):
                setattr(part, name, min(value, LAYERS))
            elif isinstance(value, int) and re.fullmatch(SIZES[0][0], name):
                setattr(part, name, min(value, VOCABULARY))
        _fit(part)


def _fit(part: PretrainedConfig) -> None:
    """Make token numbers fit the vocabulary, and lists of one entry a layer the depth."""
    if hasattr(part, "use_cache"):
        part.use_cache = False  # one forward, and some caches refuse models without attention
    if hasattr(part, "kv_lora_rank"):  # latent attention has as many key heads as query heads
        part.num_key_value_heads = part.num_attention_heads
    if getattr(part, "prediction_length", 0) is None:
        part.prediction_length, part.context_length = 8, 16
    rope = getattr(part, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope and getattr(part, "head_dim", 0) == 16:
        rope["mrope_section"] = [2, 3, 3]
    free = iter(range(VOCABULARY - 40, VOCABULARY))
    depth = next((v for n, v in vars(part).items() if n in ("num_hidden_layers", "n_layer")), None)
    for name, value in list(vars(part).items()):
        if re.fullmatch(r".*_(token_id|token_index|token)", name) and isinstance(value, int):
            setattr(part, name, next(free) if value >= VOCABULARY - 40 else value)
        elif isinstance(value, list) and isinstance(depth, int) and "layer" in name:
            setattr(part, name, value[:depth])


def parts(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """A config and all configs in it."""
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from parts(value)
