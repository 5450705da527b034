"""`monai`: small networks for pictures and volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monai.networks.nets as library
import torch
from evidence.libraries.catalogue import Models
from torch import nn

SIZES = (16, 32, 64)
TRANSFORMER: dict[str, Any] = {"hidden_size": 96, "mlp_dim": 192, "num_heads": 4}

ON_PICTURES: dict[str, Callable[[], nn.Module]] = {  # of one channel, 64 × 64
    "AttentionUnet": lambda: library.AttentionUnet(2, 1, 2, SIZES, (2, 2)),
    "UNet": lambda: library.UNet(2, 1, 2, SIZES, (2, 2)),
    "UNet, residual": lambda: library.UNet(2, 1, 2, SIZES, (2, 2), num_res_units=2),
    "UNet, batch norm": lambda: library.UNet(2, 1, 2, SIZES, (2, 2), num_res_units=2, norm="batch"),
    "DenseNet121": lambda: library.DenseNet121(2, 1, 5),
    "SEResNet50": lambda: library.SEResNet50(spatial_dims=2, in_channels=1, num_classes=5),
    "SEResNeXt50": lambda: library.SEResNeXt50(spatial_dims=2, in_channels=1, num_classes=5),
    "ResNet18": lambda: library.resnet18(spatial_dims=2, n_input_channels=1, num_classes=5),
    "EfficientNet": lambda: library.EfficientNetBN(
        "efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=5
    ),
    "HighResNet": lambda: library.HighResNet(2, 1, 2),
    "BasicUNet": lambda: library.BasicUNet(2, 1, 2),
    "BasicUNetPlusPlus": lambda: library.BasicUNetPlusPlus(2, 1, 2),
    "FlexibleUNet": lambda: library.FlexibleUNet(1, 2, "efficientnet-b0", spatial_dims=2),
    "AutoEncoder": lambda: library.AutoEncoder(2, 1, 1, (8, 16, 32), (2, 2, 2)),
    "VarAutoEncoder": lambda: library.VarAutoEncoder(2, (1, 64, 64), 1, 16, (8, 16, 32), (2, 2, 2)),
    "Discriminator": lambda: library.Discriminator((1, 64, 64), (8, 16, 32), (2, 2, 2)),
    "Critic": lambda: library.Critic((1, 64, 64), (8, 16, 32), (2, 2, 2)),
    "Classifier": lambda: library.Classifier((1, 64, 64), 5, (8, 16, 32), (2, 2, 2)),
    "Regressor": lambda: library.Regressor((1, 64, 64), (1,), (8, 16, 32), (2, 2, 2)),
    "PatchDiscriminator": lambda: library.PatchDiscriminator(2, 16, 1),
    "AutoencoderKL": lambda: library.AutoencoderKL(
        2, 1, 1, (1, 1, 1), (32, 32, 32), (False, False, False), 8, 16
    ),
    "VQVAE": lambda: library.VQVAE(
        2,
        1,
        1,
        channels=(32, 32),
        num_res_layers=1,
        num_res_channels=(32, 32),
        downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
        upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
        num_embeddings=32,
        embedding_dim=16,
    ),
    "Quicknat": lambda: library.Quicknat(num_classes=2, num_channels=1, num_filters=16),
    "MedNeXt": lambda: library.MedNeXt(2, 16, 1, 2),
    "SegResNet": lambda: library.SegResNet(2, 8, 1, 2),
    "SegResNetDS": lambda: library.SegResNetDS(2, 8, 1, 2),
    "SegResNetVAE": lambda: library.SegResNetVAE((64, 64), spatial_dims=2, in_channels=1),
    "DynUNet": lambda: library.DynUNet(2, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2]),
    "ViT": lambda: library.ViT(
        1, 64, 8, **TRANSFORMER, num_layers=4, classification=True, num_classes=5, spatial_dims=2
    ),
    "ViTAutoEnc": lambda: library.ViTAutoEnc(
        1, (64, 64), (16, 16), **TRANSFORMER, num_layers=4, spatial_dims=2
    ),
    "MaskedAutoEncoderViT": lambda: library.MaskedAutoEncoderViT(
        1,
        64,
        8,
        **TRANSFORMER,
        num_layers=4,
        decoder_hidden_size=96,
        decoder_mlp_dim=192,
        decoder_num_layers=2,
        decoder_num_heads=4,
        spatial_dims=2,
    ),
    "LocalNet": lambda: library.LocalNet(2, 1, 8, (0, 1, 2)),
    "RegUNet": lambda: library.RegUNet(2, 1, 8, 3),
    "GlobalNet": lambda: library.GlobalNet((64, 64), 2, 1, 8, 3),
}
ON_VOLUMES: dict[str, Callable[[], nn.Module]] = {  # of one channel, 32 × 32 × 32
    "UNet, volume": lambda: library.UNet(3, 1, 2, (16, 32, 64, 64), (2, 2, 2), num_res_units=2),
    "DynUNet, volume": lambda: library.DynUNet(3, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2]),
    "SegResNet, volume": lambda: library.SegResNet(3, 8, 1, 2),
    "VNet": lambda: library.VNet(3, 1, 2),
    "UNETR": lambda: library.UNETR(1, 2, (32, 32, 32), **TRANSFORMER),
    "HighResNet, volume": lambda: library.HighResNet(3, 1, 2),
    "MedNeXt, volume": lambda: library.MedNeXt(3, 8, 1, 2),
}


def models() -> Models:
    """Networks on pictures, on volumes, and with inputs of their own."""
    for name, make in ON_PICTURES.items():
        yield name, lambda make=make: (make(), torch.randn(4, 1, 64, 64))
    for name, make in ON_VOLUMES.items():
        yield name, lambda make=make: (make(), torch.randn(2, 1, 32, 32, 32))
    yield (
        "SwinUNETR",
        lambda: (library.SwinUNETR(1, 2, feature_size=12), torch.randn(1, 1, 64, 64, 64)),
    )
    yield (
        "Generator",
        lambda: (library.Generator((64,), (16, 8, 8), (16, 8, 1), (2, 2, 2)), torch.randn(8, 64)),
    )
    yield (
        "FullyConnectedNet",
        lambda: (library.FullyConnectedNet(32, 5, (64, 64, 64)), torch.randn(32, 32)),
    )
    yield (
        "DiffusionModelUNet",
        lambda: (
            library.DiffusionModelUNet(2, 1, 1, **_diffusion()),
            (torch.randn(4, 1, 64, 64), torch.randint(0, 100, (4,))),
        ),
    )
    yield (
        "ControlNet",
        lambda: (
            library.ControlNet(2, 1, **_diffusion(), conditioning_embedding_num_channels=(16,)),
            (
                torch.randn(4, 1, 16, 16),
                torch.randint(0, 100, (4,)),
                torch.randn(4, 1, 16, 16),
            ),
        ),
    )
    yield (
        "DecoderOnlyTransformer",
        lambda: (library.DecoderOnlyTransformer(64, 32, 64, 4, 4), torch.randint(0, 64, (4, 16))),
    )
    yield (
        "SPADENet",
        lambda: (
            library.SPADENet(2, 1, 1, 3, [64, 64], channels=[8, 16, 32], is_vae=False),
            torch.rand(4, 3, 64, 64),
        ),
    )


def _diffusion() -> dict[str, Any]:
    return {
        "channels": (32, 32, 64),
        "attention_levels": (False, False, True),
        "num_res_blocks": 1,
        "num_head_channels": 32,
    }
