"""`vit_pytorch`: a small model of each architecture."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from evidence.libraries.catalogue import Models
from torch import nn

IMAGE: dict[str, Any] = {"image_size": 64, "num_classes": 10}
PLAIN: dict[str, Any] = IMAGE | {"patch_size": 8, "dim": 64, "depth": 4, "heads": 4, "mlp_dim": 128}
VIDEO: dict[str, Any] = {
    "image_size": 32,
    "image_patch_size": 8,
    "frames": 8,
    "frame_patch_size": 2,
    "num_classes": 10,
    "dim": 64,
    "depth": 3,
    "heads": 4,
    "mlp_dim": 128,
}
STAGES: dict[str, Any] = {"num_classes": 10, "dim": (32, 48, 64, 64), "depth": (1, 1, 2, 1)}

# By module and class.
ON_IMAGES: dict[str, dict[str, Any]] = {
    "vit.ViT": PLAIN,
    "simple_vit.SimpleViT": PLAIN,
    "deepvit.DeepViT": PLAIN,
    "cait.CaiT": PLAIN | {"cls_depth": 2},
    "t2t.T2TViT": IMAGE
    | {"dim": 64, "depth": 3, "heads": 4, "mlp_dim": 128, "t2t_layers": ((7, 4), (3, 2))},
    "cct.CCT": {
        "img_size": 64,
        "embedding_dim": 64,
        "n_conv_layers": 2,
        "kernel_size": 7,
        "stride": 2,
        "padding": 3,
        "pooling_kernel_size": 3,
        "pooling_stride": 2,
        "pooling_padding": 1,
        "num_layers": 3,
        "num_heads": 4,
        "mlp_ratio": 2.0,
        "num_classes": 10,
        "positional_embedding": "learnable",
    },
    "cross_vit.CrossViT": IMAGE
    | {
        "depth": 2,
        "sm_dim": 64,
        "sm_patch_size": 8,
        "sm_enc_depth": 1,
        "sm_enc_heads": 4,
        "sm_enc_mlp_dim": 128,
        "lg_dim": 64,
        "lg_patch_size": 16,
        "lg_enc_depth": 2,
        "lg_enc_heads": 4,
        "lg_enc_mlp_dim": 128,
        "cross_attn_depth": 1,
        "cross_attn_heads": 4,
    },
    "pit.PiT": PLAIN | {"depth": (2, 2)},
    "levit.LeViT": IMAGE
    | {"stages": 3, "dim": (32, 48, 64), "depth": 2, "heads": (2, 4, 4), "mlp_mult": 2},
    "cvt.CvT": {
        "num_classes": 10,
        "s1_emb_dim": 32,
        "s2_emb_dim": 48,
        "s3_emb_dim": 64,
        "s1_depth": 1,
        "s2_depth": 1,
        "s3_depth": 2,
        "s1_heads": 1,
        "s2_heads": 2,
        "s3_heads": 4,
    },
    "twins_svt.TwinsSVT": {
        "num_classes": 10,
        **{f"s{i}_emb_dim": 16 + 16 * i for i in range(1, 5)},
        **{f"s{i}_depth": 1 for i in range(1, 5)},
        **{f"s{i}_patch_size": 2 for i in range(1, 5)},
        **{f"s{i}_local_patch_size": 2 for i in range(1, 5)},
        **{f"s{i}_global_k": 2 for i in range(1, 5)},
    },
    "regionvit.RegionViT": STAGES | {"window_size": 2},
    "crossformer.CrossFormer": STAGES
    | {"global_window_size": (4, 2, 2, 1), "local_window_size": 2},
    "scalable_vit.ScalableViT": {
        "num_classes": 10,
        "dim": 32,
        "heads": (2, 4, 4, 4),
        "depth": (1, 1, 2, 1),
        "ssa_dim_key": (8, 8, 8, 8),
        "reduction_factor": (4, 2, 2, 1),
        "window_size": (16, 8, None, None),
    },
    "max_vit.MaxViT": {
        "num_classes": 10,
        "dim_conv_stem": 32,
        "dim": 32,
        "dim_head": 8,
        "depth": (1, 1),
        "window_size": 4,
        "dropout": 0.1,
    },
    "nest.NesT": IMAGE
    | {
        "patch_size": 4,
        "dim": 32,
        "heads": 2,
        "num_hierarchies": 3,
        "block_repeats": (1, 1, 2),
    },
    "mobile_vit.MobileViT": {
        "image_size": (64, 64),
        "dims": [32, 48, 64],
        "channels": [16, 32, 48, 48, 64, 64, 80, 80, 96, 96, 128],
        "num_classes": 10,
    },
    "xcit.XCiT": PLAIN | {"depth": 3, "cls_depth": 1},
    "vit_for_small_dataset.ViT": PLAIN,
    "parallel_vit.ViT": PLAIN | {"num_parallel_branches": 2},
    "rvt.RvT": PLAIN,
    "simple_vit_with_qk_norm.SimpleViT": PLAIN,
    "simple_vit_with_register_tokens.SimpleViT": PLAIN,
    "simple_vit_with_patch_dropout.SimpleViT": PLAIN,
    "simple_vit_with_value_residual.SimpleViT": PLAIN,
    "simple_vit_with_hyper_connections.SimpleViT": PLAIN | {"num_residual_streams": 4},
    "simple_vit_with_fft.SimpleViT": PLAIN | {"freq_patch_size": 8},
    "simple_vit_attn_residual.SimpleViTAttnResidual": PLAIN,
    "simple_vit_orthog_residual_update.SimpleViT": PLAIN,
    "simple_vit_with_sparse_gating.SimpleViTWithSparseGating": PLAIN,
    "simple_vit_with_specialized_cls.SimpleViT": PLAIN,
    "simple_vit_with_relative_proj_pos_bias.SimpleViT": PLAIN,
    "simple_flash_attn_vit.SimpleViT": PLAIN,
    "simple_uvit.SimpleUViT": PLAIN,
    "ats_vit.ViT": PLAIN | {"depth": 3, "max_tokens_per_depth": (32, 16, 8)},
    "look_vit.LookViT": IMAGE
    | {
        "dim": 64,
        "depth": 2,
        "heads": 4,
        "dim_head": 16,
        "patch_size": 8,
        "highres_patch_size": 4,
        "cross_attn_heads": 4,
        "cross_attn_dim_head": 16,
    },
    "learnable_memory_vit.ViT": PLAIN,
    "vit_with_patch_merger.ViT": PLAIN | {"patch_merge_layer": 2, "patch_merge_num_tokens": 8},
    "vit_with_patch_dropout.ViT": PLAIN,
    "vit_with_keel_post_ln.ViT": PLAIN,
    "vit_with_decorr.ViT": PLAIN,
    "vit_detpool.ViTDetPool": PLAIN,
    "vit_5.ViT": PLAIN,
    "normalized_vit.nViT": PLAIN,
    "jumbo_vit.JumboViT": PLAIN | {"depth": 2, "jumbo_cls_k": 2},
    "looped_vit.LoopedViT": IMAGE
    | {
        "patch_size": 8,
        "dim": 64,
        "heads": 4,
        "mlp_dim": 128,
        "pre_loop_depth": 1,
        "num_looped_blocks": 1,
        "post_loop_depth": 1,
        "loop_depth": 2,
    },
}
ON_VIDEO: dict[str, dict[str, Any]] = {
    "vit_3d.ViT": VIDEO,
    "simple_vit_3d.SimpleViT": VIDEO,
    "simple_flash_attn_vit_3d.SimpleViT": VIDEO,
    "vivit.ViViT": VIDEO | {"depth": 0, "spatial_depth": 2, "temporal_depth": 2},
}
SERIES: dict[str, Any] = PLAIN | {"seq_len": 64, "image_size": 0}


def models() -> Models:
    """Models on images, on videos and on series."""
    for name, sizes in ON_IMAGES.items():
        yield name, lambda name=name, sizes=sizes: (_made(name, sizes), torch.randn(4, 3, 64, 64))
    for name, sizes in ON_VIDEO.items():
        yield (
            name,
            lambda name=name, sizes=sizes: (_made(name, sizes), torch.randn(4, 3, 8, 32, 32)),
        )
    for name in ("vit_1d.ViT", "simple_vit_1d.SimpleViT"):
        yield name, lambda name=name: (_made(name, SERIES), torch.randn(4, 3, 64))


def _made(name: str, sizes: dict[str, Any]) -> nn.Module:
    """A model by its module and class; a size of zero is one that it does not have."""
    module, _, kind = name.partition(".")
    made = getattr(importlib.import_module(f"vit_pytorch.{module}"), kind)
    return made(**{key: value for key, value in sizes.items() if value != 0})
