"""`speechbrain`: its encoders, separators and vocoders, small."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from evidence.libraries.catalogue import Models
from torch import nn

FEATURES, FRAMES = 40, 64


def _named(path: str, **options: Any) -> Callable[[], nn.Module]:
    """What makes the class at a path below `speechbrain`."""
    module, _, kind = path.rpartition(".")

    def make() -> nn.Module:
        return getattr(importlib.import_module(f"speechbrain.{module}"), kind)(**options)

    return make


ON_SPECTRA: dict[str, Callable[[], nn.Module]] = {
    "ECAPA_TDNN": _named(
        "lobes.models.ECAPA_TDNN.ECAPA_TDNN",
        input_size=FEATURES,
        channels=[64, 64, 64, 64, 192],
        lin_neurons=32,
    ),
    "Xvector": _named(
        "lobes.models.Xvector.Xvector",
        in_channels=FEATURES,
        tdnn_channels=[64, 64, 64, 64, 192],
        lin_neurons=64,
    ),
    "ResNet": _named("lobes.models.ResNet.ResNet", input_size=FEATURES, lin_neurons=32),
    "CRDNN": _named(
        "lobes.models.CRDNN.CRDNN",
        input_size=FEATURES,
        cnn_channels=(16, 32),
        rnn_layers=2,
        rnn_neurons=64,
        dnn_neurons=64,
        time_pooling=True,
    ),
    "VanillaNN": _named(
        "lobes.models.VanillaNN.VanillaNN",
        input_shape=(None, None, FEATURES),
        dnn_blocks=3,
        dnn_neurons=64,
    ),
    "ContextNet": _named(
        "lobes.models.ContextNet.ContextNet",
        input_shape=(4, FRAMES, FEATURES),
        out_channels=64,
        conv_channels=[64, 64, 64],
        num_blocks=3,
        num_layers=2,
        strides=[1, 2, 1],
    ),
    "ConvolutionFrontEnd": _named(
        "lobes.models.convolution.ConvolutionFrontEnd",
        input_shape=(4, FRAMES, FEATURES),
        num_blocks=2,
        out_channels=[32, 32],
        kernel_sizes=[3, 3],
        strides=[2, 2],
        residuals=[False, True],
    ),
    "LSTM": _named("nnet.RNN.LSTM", hidden_size=64, input_size=FEATURES, num_layers=2),
    "LiGRU": _named(
        "nnet.RNN.LiGRU", hidden_size=64, input_shape=(4, FRAMES, FEATURES), num_layers=2
    ),
    "QuasiRNN": _named(
        "nnet.RNN.QuasiRNN", hidden_size=64, input_shape=(4, FRAMES, FEATURES), num_layers=2
    ),
    "Conformer encoder": _named(
        "lobes.models.transformer.Conformer.ConformerEncoder",
        num_layers=3,
        d_model=FEATURES,
        d_ffn=128,
        nhead=4,
    ),
    "Branchformer encoder": _named(
        "lobes.models.transformer.Branchformer.BranchformerEncoder",
        num_layers=3,
        d_model=FEATURES,
        nhead=4,
        csgu_linear_units=128,
    ),
    "Transformer encoder": _named(
        "lobes.models.transformer.Transformer.TransformerEncoder",
        num_layers=3,
        nhead=4,
        d_ffn=128,
        d_model=FEATURES,
    ),
}
POSITIONS = ("Conformer encoder", "Branchformer encoder")  # which take relative positions


def models() -> Models:
    """Models of spectra, then those with inputs of their own."""
    for name, make in ON_SPECTRA.items():
        yield name, lambda name=name, make=make: (make(), _batch(name))
    yield (
        "Cnn14",
        lambda: (
            _named("lobes.models.Cnn14.Cnn14", mel_bins=FEATURES, emb_dim=64)(),
            torch.randn(4, FRAMES, FEATURES),
        ),
    )
    yield (
        "HiFi-GAN generator",
        lambda: (
            _named(
                "lobes.models.HifiGAN.HifiganGenerator",
                in_channels=FEATURES,
                out_channels=1,
                resblock_type="1",
                resblock_dilation_sizes=[[1, 3, 5]],
                resblock_kernel_sizes=[3],
                upsample_kernel_sizes=[8, 8],
                upsample_initial_channel=64,
                upsample_factors=[4, 4],
            )(),
            torch.randn(4, FEATURES, 16),
        ),
    )
    yield (
        "ASR transformer",
        lambda: (
            _named(
                "lobes.models.transformer.TransformerASR.TransformerASR",
                tgt_vocab=50,
                input_size=FEATURES,
                d_model=64,
                nhead=4,
                num_encoder_layers=2,
                num_decoder_layers=2,
                d_ffn=128,
            )(),
            (torch.randn(4, FRAMES, FEATURES), torch.randint(1, 50, (4, 12))),
        ),
    )
    yield (
        "ConvTasNet masks",
        lambda: (
            _named(
                "lobes.models.conv_tasnet.MaskNet",
                N=64,
                B=32,
                H=64,
                P=3,
                X=3,
                R=2,
                C=2,
                norm_type="gLN",
                causal=False,
            )(),
            torch.randn(4, 64, FRAMES),
        ),
    )
    yield (
        "RNN language model",
        lambda: (
            _named("lobes.models.RNNLM.RNNLM", output_neurons=50, rnn_neurons=64)(),
            torch.randint(1, 50, (4, 12)),
        ),
    )


def _batch(name: str) -> Any:
    spectra = torch.randn(4, FRAMES, FEATURES)
    if name not in POSITIONS:
        return spectra
    return {"src": spectra, "pos_embs": torch.randn(1, 2 * FRAMES - 1, FEATURES)}
