"""`diffusers`: small denoisers and autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers as library
import torch
from evidence.libraries.catalogue import Models
from torch import nn

EXAMPLES, CHANNELS, SIDE, TOKENS, TEXT = 4, 4, 16, 7, 32
UNET: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
AUTOENCODER: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
    "block_out_channels": (32, 32),
    "norm_num_groups": 8,
}
Batch = Callable[[], Any]


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(EXAMPLES, *shape)


def _times() -> torch.Tensor:
    return torch.randint(0, 1000, (EXAMPLES,))


def _latents(**others: Any) -> dict[str, Any]:
    return {"hidden_states": _noise(CHANNELS, SIDE, SIDE), "timestep": _times(), **others}


def _video(channels: int = CHANNELS) -> torch.Tensor:
    return torch.randn(2, channels, 4, 8, 8)


CASES: dict[str, tuple[Callable[[], nn.Module], Batch]] = {
    "UNet2DModel": (
        lambda: library.UNet2DModel(
            SIDE,
            CHANNELS,
            CHANNELS,
            **UNET,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
        ),
        lambda: (_noise(CHANNELS, SIDE, SIDE), _times()),
    ),
    "UNet2DModel, ResNet sampling": (
        lambda: library.UNet2DModel(
            SIDE,
            CHANNELS,
            CHANNELS,
            **UNET,
            down_block_types=("ResnetDownsampleBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "ResnetUpsampleBlock2D"),
            resnet_time_scale_shift="scale_shift",
            attention_head_dim=8,
        ),
        lambda: (_noise(CHANNELS, SIDE, SIDE), _times()),
    ),
    "UNet2DConditionModel": (
        lambda: library.UNet2DConditionModel(
            SIDE,
            CHANNELS,
            CHANNELS,
            **UNET,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=TEXT,
            attention_head_dim=8,
        ),
        lambda: (_noise(CHANNELS, SIDE, SIDE), _times(), _noise(TOKENS, TEXT)),
    ),
    "UNet3DConditionModel": (
        lambda: library.UNet3DConditionModel(
            8,
            CHANNELS,
            CHANNELS,
            **UNET,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=TEXT,
            attention_head_dim=8,
        ),
        lambda: (_video(), _times()[:2], torch.randn(2, TOKENS, TEXT)),
    ),
    "UVit2DModel": (
        lambda: library.UVit2DModel(
            hidden_size=64,
            cond_embed_dim=TEXT,
            encoder_hidden_size=TEXT,
            vocab_size=64,
            codebook_size=60,
            in_channels=64,
            block_out_channels=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            block_num_heads=4,
            intermediate_size=128,
            sample_size=SIDE,
            num_res_blocks=1,
            micro_cond_encode_dim=8,
            micro_cond_embed_dim=40,
        ),
        lambda: (
            torch.randint(0, 60, (EXAMPLES, SIDE, SIDE)),
            _noise(TOKENS, TEXT),
            _noise(TEXT),
            _noise(5).abs(),
        ),
    ),
    "Transformer2DModel": (
        lambda: library.Transformer2DModel(
            4, 16, CHANNELS, num_layers=2, cross_attention_dim=TEXT, norm_num_groups=4
        ),
        lambda: {
            "hidden_states": _noise(CHANNELS, SIDE, SIDE),
            "encoder_hidden_states": _noise(TOKENS, TEXT),
        },
    ),
    "DiTTransformer2DModel": (
        lambda: library.DiTTransformer2DModel(
            4, 16, CHANNELS, num_layers=4, sample_size=SIDE, patch_size=2
        ),
        lambda: _latents(class_labels=_times()),
    ),
    "PixArtTransformer2DModel": (
        lambda: library.PixArtTransformer2DModel(
            4,
            16,
            CHANNELS,
            num_layers=3,
            cross_attention_dim=64,
            caption_channels=TEXT,
            sample_size=SIDE,
        ),
        lambda: _latents(
            encoder_hidden_states=_noise(TOKENS, TEXT),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ),
    ),
    "SD3Transformer2DModel": (
        lambda: library.SD3Transformer2DModel(
            SIDE, 2, CHANNELS, 3, 16, 4, TEXT, 64, TEXT, CHANNELS, SIDE
        ),
        lambda: _latents(
            encoder_hidden_states=_noise(TOKENS, TEXT), pooled_projections=_noise(TEXT)
        ),
    ),
    "FluxTransformer2DModel": (
        lambda: library.FluxTransformer2DModel(
            1, 16, None, 2, 2, 16, 4, TEXT, TEXT, axes_dims_rope=(4, 6, 6)
        ),
        lambda: {
            "hidden_states": _noise(16, 16),
            "encoder_hidden_states": _noise(TOKENS, TEXT),
            "pooled_projections": _noise(TEXT),
            "timestep": torch.rand(EXAMPLES),
            "img_ids": torch.zeros(16, 3),
            "txt_ids": torch.zeros(TOKENS, 3),
        },
    ),
    "AuraFlowTransformer2DModel": (
        lambda: library.AuraFlowTransformer2DModel(
            sample_size=SIDE,
            patch_size=2,
            in_channels=CHANNELS,
            num_mmdit_layers=1,
            num_single_dit_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=TEXT,
            caption_projection_dim=64,
            out_channels=CHANNELS,
            pos_embed_max_size=64,
        ),
        lambda: {
            "hidden_states": _noise(CHANNELS, SIDE, SIDE),
            "encoder_hidden_states": _noise(TOKENS, TEXT),
            "timestep": torch.rand(EXAMPLES),
        },
    ),
    "SanaTransformer2DModel": (
        lambda: library.SanaTransformer2DModel(
            CHANNELS,
            CHANNELS,
            4,
            16,
            2,
            4,
            16,
            64,
            TEXT,
            sample_size=SIDE,
            patch_size=2,
        ),
        lambda: {
            "hidden_states": _noise(CHANNELS, SIDE, SIDE),
            "encoder_hidden_states": _noise(TOKENS, TEXT),
            "timestep": _times(),
        },
    ),
    "LatteTransformer3DModel": (
        lambda: library.LatteTransformer3DModel(
            4,
            16,
            CHANNELS,
            CHANNELS,
            num_layers=2,
            cross_attention_dim=64,
            caption_channels=TEXT,
            sample_size=8,
            patch_size=2,
            video_length=4,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
        ),
        lambda: {
            "hidden_states": _video(),
            "encoder_hidden_states": torch.randn(2, TOKENS, TEXT),
            "timestep": _times()[:2],
        },
    ),
    "WanTransformer3DModel": (
        lambda: library.WanTransformer3DModel(
            (1, 2, 2), 4, 16, CHANNELS, CHANNELS, TEXT, 32, 128, 2
        ),
        lambda: {
            "hidden_states": _video(),
            "timestep": _times()[:2],
            "encoder_hidden_states": torch.randn(2, TOKENS, TEXT),
        },
    ),
    "AutoencoderKL": (
        lambda: library.AutoencoderKL(3, 3, **AUTOENCODER),
        lambda: _noise(3, 32, 32),
    ),
    "VQModel": (
        lambda: library.VQModel(3, 3, **AUTOENCODER, num_vq_embeddings=32),
        lambda: _noise(3, 32, 32),
    ),
    "AsymmetricAutoencoderKL": (
        lambda: library.AsymmetricAutoencoderKL(
            3,
            3,
            down_block_types=("DownEncoderBlock2D",),
            down_block_out_channels=(32,),
            up_block_types=("UpDecoderBlock2D",),
            up_block_out_channels=(32,),
            norm_num_groups=8,
        ),
        lambda: _noise(3, 32, 32),
    ),
    "AutoencoderTiny": (
        lambda: library.AutoencoderTiny(
            encoder_block_out_channels=(32, 32),
            decoder_block_out_channels=(32, 32),
            num_encoder_blocks=(1, 2),
            num_decoder_blocks=(2, 1),
        ),
        lambda: _noise(3, 32, 32),
    ),
    "AutoencoderOobleck": (
        lambda: library.AutoencoderOobleck(16, [2, 4], [1, 2], 16, 8, 2, 8000),
        lambda: _noise(2, 512),
    ),
}


def models() -> Models:
    """Denoisers, then autoencoders."""
    for name, (make, batch) in CASES.items():
        yield name, lambda make=make, batch=batch: (make(), batch())
