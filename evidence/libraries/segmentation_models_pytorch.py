"""`segmentation_models_pytorch`: each decoder, and one decoder on encoders of each kind."""

from __future__ import annotations

import segmentation_models_pytorch as library
import torch
from evidence.libraries.catalogue import Models

DECODERS = (
    "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer DPT"
).split()
ENCODERS = (
    "resnet18 resnet34 resnext50_32x4d se_resnet50 densenet121 mobilenet_v2 efficientnet-b0 vgg11 "
    "vgg11_bn dpn68 timm-regnetx_002 timm-res2net50_26w_4s timm-skresnet18 timm-resnest14d "
    "timm-mobilenetv3_small_100 timm-gernet_s mit_b0 mobileone_s0 xception"
).split()


def models() -> Models:
    """Decoders, then encoders."""
    for name in DECODERS:
        encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
        side = 224 if name == "DPT" else 128
        yield (
            f"{name} on {encoder}",
            lambda name=name, encoder=encoder, side=side: (
                getattr(library, name)(encoder, encoder_weights=None),
                torch.randn(2, 3, side, side),
            ),
        )
    for encoder in ENCODERS[1:]:
        yield (
            f"Unet on {encoder}",
            lambda encoder=encoder: (
                library.Unet(encoder, encoder_weights=None),
                torch.randn(2, 3, 128, 128),
            ),
        )
