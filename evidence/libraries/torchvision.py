"""`torchvision`: its models for images and videos but the largest, and those that detect."""

from __future__ import annotations

import re
from typing import Any

import torch
from evidence.libraries.catalogue import Models
from torch import nn
from torchvision import models as library

# Too large for two processors, quantized, or with boxes and pairs of images as arguments.
LEFT = re.compile(
    r"rcnn|retina|fcos|ssd|quant|raft|vit_[blh]|_128gf|_(16|32)gf|_l(arge)?$|swin3d_[bs]|b[4-7]$|"
    r"swin(_v2)?_b|convnext_base|wide|152|x101|vgg|v2_m$"
)
VIDEO = re.compile(r"r3d|mc3|r2plus|s3d|mvit|swin3d")


def models() -> Models:
    """All but those left."""
    for name in library.list_models():
        if not LEFT.search(name) or name in ("mobilenet_v3_large", "lraspp_mobilenet_v3_large"):
            yield name, lambda name=name: _made(name)


def _made(name: str) -> tuple[nn.Module, Any]:
    options: dict[str, Any] = {"weights": None}
    if "deeplab" in name or "fcn" in name or "lraspp" in name:
        options["weights_backbone"] = None
    if "googlenet" in name or "inception" in name:
        options["init_weights"] = False
    model = library.get_model(name, **options)
    if "mvit" in name or "swin3d" in name:
        return model, torch.randn(1, 3, 16, 224, 224)
    if VIDEO.search(name):
        return model, torch.randn(2, 3, 16, 112, 112)
    side = 299 if "inception" in name else 224 if "vit" in name else 128
    return model, torch.randn(2 if side > 128 else 4, 3, side, side)
