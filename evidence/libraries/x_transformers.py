"""`x_transformers`: one small decoder for each option, and the other wrappers."""

from __future__ import annotations

from typing import Any

import torch
import x_transformers as library
from evidence.libraries.catalogue import Models
from torch import nn

SIZE: dict[str, Any] = {"dim": 64, "depth": 4, "heads": 4}
TOKENS = 256
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotary positions": {"rotary_pos_emb": True},
    "rotary xpos": {"rotary_xpos": True},
    "ALiBi": {"alibi_pos_bias": True, "alibi_num_heads": 2},
    "relative positions": {"rel_pos_bias": True},
    "dynamic positions": {"dynamic_pos_bias": True},
    "data dependent ALiBi": {"attn_data_dependent_alibi": True},
    "polar positions": {"polar_pos_emb": True},
    "GLU": {"ff_glu": True},
    "SwiGLU": {"ff_swish": True, "ff_glu": True},
    "GLU with learned bias": {"ff_glu": True, "ff_glu_mult_bias": True},
    "squared ReLU": {"ff_relu_squared": True},
    "RMSNorm": {"use_rmsnorm": True},
    "simple RMSNorm": {"use_simple_rmsnorm": True},
    "ScaleNorm": {"use_scalenorm": True},
    "dynamic tanh": {"use_dynamic_tanh": True},
    "derf": {"use_derf": True},
    "LayerScale": {"use_layerscale": True},
    "norm behind": {"pre_norm": False},
    "sandwich norm": {"sandwich_norm": True},
    "feed-forward norm": {"ff_post_act_ln": True},
    "gated residual": {"gate_residual": True},
    "scaled residual": {"scale_residual": True},
    "residual attention": {"residual_attn": True},
    "hyper-connections": {"num_residual_streams": 4},
    "value residual": {"add_value_residual": True},
    "mixed value residual": {
        "add_value_residual": True,
        "learned_value_residual_mix": True,
    },
    "query-key norm": {"attn_qk_norm": True},
    "query-key RMSNorm": {"attn_qk_norm": True, "attn_qk_norm_dim_scale": True},
    "talking heads": {"attn_pre_talking_heads": True, "attn_post_talking_heads": True},
    "one key-value head": {"attn_one_kv_head": True},
    "grouped key-value heads": {"attn_kv_heads": 2},
    "gated values": {"attn_gate_values": True},
    "head scale": {"attn_head_scale": True},
    "memory keys": {"attn_num_mem_kv": 8},
    "attention on attention": {"attn_on_attn": True},
    "sparse attention": {"attn_sparse_topk": 8},
    "soft-clamped attention": {"attn_softclamp_logits": True},
    "signed attention": {"attn_cog_signed": True},
    "selective attention": {"attn_selective": True},
    "sigmoid attention": {"attn_sigmoid": True},
    "zero key and value": {"attn_add_zero_kv": True},
    "contextual positions": {"attn_use_cope": True},
    "exponential values": {"attn_laser": True},
    "values made orthogonal": {"attn_orthog_projected_values": True},
    "latent keys and values": {"attn_use_latent_kv": True, "attn_dim_latent_kv": 16},
    "macaron": {"macaron": True},
    "shifted tokens": {"shift_tokens": 1},
    "no biases": {"ff_no_bias": True},
    "zero last weights": {"zero_init_branch_output": True},
    "dropout": {"attn_dropout": 0.1, "ff_dropout": 0.1},
}


def models() -> Models:
    """A decoder for each option; encoders, vision, continuous, both."""
    ids = torch.randint(0, TOKENS, (4, 64), generator=torch.Generator().manual_seed(0))
    for name, options in OPTIONS.items():
        yield name, lambda options=options: (_decoder(**options), ids)
    yield "encoder", lambda: (_wrapped(library.Encoder(**SIZE)), ids)
    yield "tied embedding", lambda: (_wrapped(library.Decoder(**SIZE), tie_embedding=True), ids)
    yield "memory tokens", lambda: (_wrapped(library.Decoder(**SIZE), num_memory_tokens=8), ids)
    yield (
        "embedding norm",
        lambda: (_wrapped(library.Decoder(**SIZE), post_emb_norm=True, l2norm_embed=True), ids),
    )
    yield "vision", lambda: (_vision(), torch.randn(4, 3, 32, 32))
    yield (
        "continuous",
        lambda: (
            library.ContinuousTransformerWrapper(
                dim_in=32, dim_out=10, max_seq_len=64, attn_layers=library.Encoder(**SIZE)
            ),
            torch.randn(4, 64, 32),
        ),
    )
    yield "encoder and decoder", lambda: (_both(), (ids, ids[:, :32]))


def _decoder(**options: Any) -> nn.Module:
    return _wrapped(library.Decoder(**SIZE, **options))


def _wrapped(layers: nn.Module, **options: Any) -> nn.Module:
    return library.TransformerWrapper(
        num_tokens=TOKENS, max_seq_len=128, attn_layers=layers, **options
    )


def _vision() -> nn.Module:
    return library.ViTransformerWrapper(
        image_size=32, patch_size=8, num_classes=10, attn_layers=library.Encoder(**SIZE)
    )


def _both() -> nn.Module:
    sizes = {"num_tokens": TOKENS, "depth": 2, "heads": 4, "max_seq_len": 128}
    return library.XTransformer(
        dim=64,
        **{f"enc_{k}": v for k, v in sizes.items()},
        **{f"dec_{k}": v for k, v in sizes.items()},
    )
