"""`torchaudio`: small models for waves and spectrograms; its version is older than torch's."""

from __future__ import annotations

from typing import Any

import torch
from evidence.libraries.catalogue import Models
from torch import nn
from torchaudio import models as library

FRAMES = 64
WAV2VEC: dict[str, Any] = {
    "extractor_conv_bias": False,
    "encoder_embed_dim": 64,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 128,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_drop": 0.0,
}


def models() -> Models:
    """A model of each architecture."""
    waves = torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(0))
    long = torch.full((4,), FRAMES)
    yield "Conformer", lambda: (library.Conformer(80, 4, 128, 3, 31), (_spectrum(80), long))
    yield "Emformer", lambda: (library.Emformer(80, 4, 128, 3, 16), (_spectrum(80), long))
    yield "ConvTasNet", lambda: (_tasnet(), waves)
    yield "DeepSpeech", lambda: (library.DeepSpeech(40, 128, 20), _spectrum(40)[:, None])
    yield "Wav2Letter", lambda: (library.Wav2Letter(20, "mfcc", 13), _spectrum(13).mT)
    yield "WaveRNN", lambda: (_wavernn(), (torch.randn(4, 1, 2000), torch.randn(4, 1, 40, 14)))
    yield "HDemucs", lambda: (library.HDemucs(["one", "two"], 1, 8), torch.randn(2, 1, 32000))
    yield "Wav2Vec2", lambda: (_wav2vec("layer_norm", True), waves[:, 0])
    yield "Wav2Vec2, group norm", lambda: (_wav2vec("group_norm", False), waves[:, 0])
    yield "Tacotron2", lambda: (library.Tacotron2(n_symbol=30), _spoken())
    yield "Squim", lambda: (library.squim_objective_base(), waves[:, 0])


def _spectrum(features: int) -> torch.Tensor:
    return torch.randn(4, FRAMES, features)


def _tasnet() -> nn.Module:
    return library.ConvTasNet(
        enc_num_feats=64, msk_num_feats=32, msk_num_hidden_feats=64, msk_num_layers=4
    )


def _wavernn() -> nn.Module:
    return library.WaveRNN(
        upsample_scales=[5, 5, 8],
        n_classes=64,
        hop_length=200,
        n_res_block=3,
        n_rnn=64,
        n_fc=64,
        n_hidden=32,
        n_freq=40,
        n_output=32,
    )


def _wav2vec(mode: str, first: bool) -> nn.Module:
    layers = [(64, 10, 5), (64, 3, 2), (64, 3, 2)]
    return library.wav2vec2_model(
        extractor_mode=mode,
        extractor_conv_layer_config=layers,
        encoder_layer_norm_first=first,
        aux_num_out=20,
        **WAV2VEC,
    )


def _spoken() -> tuple[torch.Tensor, ...]:
    """Texts, their lengths, and what is to be said of them."""
    texts, said = torch.randint(0, 30, (2, 12)), torch.randn(2, 80, 20)
    return texts, torch.tensor([12, 12]), said, torch.tensor([20, 20])
