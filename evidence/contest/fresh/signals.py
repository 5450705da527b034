"""Audio and time series: a waveform's next sample, speech-like tones, forecasts."""

from __future__ import annotations

import math
import os
from functools import cache
from random import Random
from typing import Any

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, ctc_loss, gelu, pad

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import PatchTSTConfig, PatchTSTForPrediction

# Audio samples


@cache
def waves(seed: int, count: int, length: int = 129) -> torch.Tensor:
    """Return plucked notes with overtones and noise, as mu-law codes below 64."""
    g = seeded(seed)
    t = torch.arange(length)
    pitch = 2 ** (torch.randint(24, (count, 1), generator=g) / 12) * 0.12
    wave = torch.zeros(count, length)
    for overtone in range(1, 5):
        loud = uniform(g, count, 1, low=0.3) / overtone
        phase = uniform(g, count, 1, high=6.3)
        wave = wave + loud * torch.sin(overtone * pitch * t + phase)
    wave = wave * torch.exp(-t / length) * 0.5 + 0.01 * torch.randn(count, length, generator=g)
    wave = wave.clamp(-1, 1)
    law = wave.sign() * torch.log1p(63 * wave.abs()) / torch.log(torch.tensor(64.0))
    return ((law + 1) / 2 * 63).round().long()


class WaveNet(nn.Module):
    """Gated dilated causal convolutions with residual and skip connections."""

    def __init__(self, width: int = 16, skip: int = 32, layers: int = 8) -> None:
        super().__init__()
        self.dilations = [2 ** (layer % 4) for layer in range(layers)]
        self.first = nn.Conv1d(64, width, 1)
        self.dilated = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 2, dilation=d) for d in self.dilations
        )
        self.residual = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in self.dilations[1:])
        self.skip = nn.ModuleList(nn.Conv1d(width, skip, 1) for _ in self.dilations)
        last = [nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, 64, 1)]
        self.last = nn.Sequential(*last)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the logits of each next code, of shape (batch, 64, length)."""
        x = self.first(nn.functional.one_hot(codes, 64).float().transpose(1, 2))
        skips = torch.zeros(1)
        for layer, dilation in enumerate(self.dilations):
            filtered, gate = self.dilated[layer](pad(x, (dilation, 0))).chunk(2, dim=1)
            h = torch.tanh(filtered) * torch.sigmoid(gate)
            skips = skips + self.skip[layer](h)
            if layer < len(self.residual):
                x = x + self.residual[layer](h)
        return self.last(skips)


def he_normal(model: nn.Module) -> None:
    """Fill convolutions as He's normal for ReLU, with zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def played(step: int, seed: int = 21, count: int = 512, batch: int = 2) -> Step:
    """Return waveforms, each sample to be predicted from those before it."""
    codes = waves(seed, count)[rows(step, count, batch)]
    return codes[:, :-1], lambda output: cross_entropy(output, codes[:, 1:])


# Speech-like tones

BANDS, FRAMES, PHONES = 20, 20, 8


@cache
def spoken(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log spectrograms (count, bands, frames), the phones in them, and how many there are."""
    g, random = seeded(seed), Random(seed)
    formants = uniform(seeded(7), PHONES + 1, BANDS, low=-1.5, high=1.5)
    spectra = 0.5 * torch.randn(count, FRAMES, BANDS, generator=g)
    phones = torch.zeros(count, 3, dtype=torch.long)
    sizes = torch.zeros(count, dtype=torch.long)
    for row in range(count):
        frame = random.randint(0, 4)
        while sizes[row] < 3 and frame < FRAMES - 5:
            phone, long = random.randint(1, PHONES), random.randint(3, 6)
            spectra[row, frame : frame + long] += formants[phone]
            phones[row, sizes[row]] = phone
            sizes[row] += 1
            frame += long + random.randint(1, 2)
    return spectra.transpose(1, 2).contiguous(), phones, sizes


class DeepSpeech(nn.Module):
    """A convolution and two layers of GRU both ways, with batch norm, for every other frame."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(BANDS, 32, 5, stride=2, padding=2),
            nn.BatchNorm1d(32),
            nn.Hardtanh(0, 20, inplace=True),
        )
        self.rnn1 = nn.GRU(32, hidden, batch_first=True, bidirectional=True)
        self.norm = nn.BatchNorm1d(2 * hidden)
        self.rnn2 = nn.GRU(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, PHONES + 1)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        """Return log probabilities, of shape (frames / 2, batch, phones + 1)."""
        x, _ = self.rnn1(self.conv(spectra).transpose(1, 2))
        x, _ = self.rnn2(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return self.fc(x).log_softmax(dim=2).transpose(0, 1)


def transcribed(step: int, seed: int = 22, count: int = 512, batch: int = 4) -> Step:
    """Return spectrograms, to be transcribed."""
    x, y, sizes = spoken(seed, count)
    at = rows(step, count, batch)
    frames = torch.full((batch,), FRAMES // 2)
    return x[at], lambda output: ctc_loss(output, y[at], frames, sizes[at])


# Forecasts of sales


@cache
def sales(seed: int, count: int, length: int = 36) -> torch.Tensor:
    """Return monthly sales between tens and thousands: level, trend, season, noise."""
    g = seeded(seed)
    t = torch.arange(length)
    level = torch.exp(uniform(g, count, 1, low=3, high=8))
    trend = 1 + uniform(g, count, 1, low=-0.015, high=0.03) * t
    phase, depth = uniform(g, count, 1, high=6.3), uniform(g, count, 1, high=0.4)
    season = 1 + depth * torch.sin(2 * torch.pi * t / 12 + phase)
    return level * trend * season * (1 + 0.03 * torch.randn(count, length, generator=g))


class NBeatsBlock(nn.Module):
    """Four layers that explain a part of the past, and forecast with it."""

    def __init__(self, past: int, future: int, width: int) -> None:
        super().__init__()
        sizes = [past, width, width, width]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in sizes)
        self.basis = nn.Linear(width, past + future)
        self.past = past

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the explained past, and its forecast."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        theta = self.basis(x)
        return theta[:, : self.past], theta[:, self.past :]


class NBeats(nn.Module):
    """Blocks that each explain what those before left, and forecast together."""

    def __init__(self, past: int = 24, future: int = 12, width: int = 128, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NBeatsBlock(past, future, width) for _ in range(blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the forecast, of shape (batch, future)."""
        residual, forecast = x, x[:, -1:]
        for block in self.blocks:
            backcast, part = block(residual)
            residual = residual - backcast
            forecast = forecast + part
        return forecast


def sold(step: int, seed: int = 23, count: int = 2000, batch: int = 64) -> Step:
    """Return two years of sales as they come, the third to be forecast: the paper's sMAPE / 100."""
    series = sales(seed, count)[rows(step, count, batch)]
    future = series[:, 24:]

    def loss(output: torch.Tensor) -> torch.Tensor:
        scale = (output.abs() + future.abs()).detach()
        return 2 * ((output - future).abs() / scale).mean()

    return series[:, :24], loss


# Forecasts of coupled machines


@cache
def machines(seed: int, count: int, length: int = 56) -> torch.Tensor:
    """Return three coupled, driven oscillators seen by noisy sensors, of shape (count, length, 3)."""
    g = seeded(seed)
    coupling = torch.tensor([[1.0, -0.4, 0.0], [-0.4, 1.4, -0.3], [0.0, -0.3, 0.7]])
    x, v = torch.randn(2, count, 3, generator=g)
    drive, phase = uniform(g, count, 1, low=0.5, high=1.5), uniform(g, count, 1, high=6.3)
    seen = []
    for step in range(length):
        for part in range(2):
            t = torch.tensor(0.2 * (2 * step + part))
            v = v + 0.2 * (-x @ coupling - 0.2 * v + 0.4 * torch.sin(drive * t + phase))
            x = x + 0.2 * v
        seen.append(x + 0.05 * torch.randn(count, 3, generator=g))
    return torch.stack(seen, dim=1)


def patchtst() -> nn.Module:
    """Return a small PatchTST of transformers."""
    sizes: dict[str, Any] = {
        "d_model": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
    }
    lengths: dict[str, Any] = {
        "context_length": 48,
        "prediction_length": 8,
        "patch_length": 8,
        "patch_stride": 4,
    }
    config = PatchTSTConfig(num_input_channels=3, norm_type="layernorm", **sizes, **lengths)
    return PatchTSTForPrediction(config)


def sensed(step: int, seed: int = 24, count: int = 1000, batch: int = 16) -> Step:
    """Return sensors' series, for a model that works out its own loss."""
    series = machines(seed, count)[rows(step, count, batch)]
    return {"past_values": series[:, :48], "future_values": series[:, 48:]}, None


# Heartbeats


@cache
def heartbeats(seed: int, count: int, length: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Return single-lead heartbeats, standardized, and the rhythm: even, uneven, skipped or early."""
    g, random = seeded(seed), Random(seed)
    t = torch.arange(length)
    kind = torch.randint(4, (count,), generator=g)
    signal = 0.03 * torch.randn(count, length, generator=g)
    signal = signal + 0.1 * torch.sin(0.05 * t + uniform(g, count, 1, high=6.3))
    for row in range(count):
        period, at, beat = random.uniform(14, 18), random.uniform(2, 14), 0
        odd = random.randint(2, 4)
        while at < length + 4:
            if not (kind[row] == 2 and beat == odd):
                signal[row] += torch.exp(-((t - at) ** 2) / 2) - 0.2 * torch.exp(
                    -((t - at - 3) ** 2)
                )
                signal[row] += 0.25 * torch.exp(-((t - at - 7) ** 2) / 8)
            early = kind[row] == 3 and beat == odd
            wobble = random.uniform(-0.35, 0.35) if kind[row] == 1 else random.uniform(-0.03, 0.03)
            at, beat = at + period * (0.6 if early else 1 + wobble), beat + 1
    return ((signal - signal.mean()) / signal.std())[:, :, None], kind


class S4D(nn.Module):
    """A diagonal state space for each channel, run as one long convolution."""

    def __init__(self, width: int, states: int = 8) -> None:
        super().__init__()
        low, high = math.log(0.001), math.log(0.1)
        self.log_dt = nn.Parameter(torch.rand(width) * (high - low) + low)
        self.c = nn.Parameter(torch.randn(width, states, 2) * 0.5**0.5)
        self.log_a_real = nn.Parameter(torch.log(0.5 * torch.ones(width, states)))
        self.a_imag = nn.Parameter(math.pi * torch.arange(states).float().repeat(width, 1))
        self.d = nn.Parameter(torch.randn(width))
        self.output_linear = nn.Sequential(nn.Conv1d(width, 2 * width, 1), nn.GLU(dim=1))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """Return the states' output, of the input's shape (batch, width, length)."""
        length = u.shape[2]
        a = torch.complex(-torch.exp(self.log_a_real), self.a_imag)
        dta = a * torch.exp(self.log_dt)[:, None]
        c = torch.view_as_complex(self.c) * (torch.exp(dta) - 1) / a
        powers = torch.exp(dta[:, :, None] * torch.arange(length))
        kernel = 2 * torch.einsum("hn,hnl->hl", c, powers).real
        spectrum = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + u * self.d[:, None]
        return self.output_linear(gelu(y))


class S4Model(nn.Module):
    """State spaces with residual connections and layer norm, and the mean over time."""

    def __init__(self, width: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, width)
        self.s4_layers = nn.ModuleList(S4D(width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.decoder = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the rhythms."""
        x = self.encoder(x).transpose(1, 2)
        for layer, norm in zip(self.s4_layers, self.norms, strict=True):
            x = norm((layer(x) + x).transpose(1, 2)).transpose(1, 2)
        return self.decoder(x.transpose(1, 2).mean(dim=1))


def beaten(step: int, seed: int = 25, count: int = 500, batch: int = 20) -> Step:
    """Return heartbeats, their rhythm to be told."""
    x, y = heartbeats(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: cross_entropy(output, y[at])


SIGNALS = {
    "WaveNet, plucked notes": Task(
        WaveNet,
        played,
        lambda: played(0, HELD + 21, 48, 48),
        he_normal,
        "r9y9/wavenet_vocoder and kan-bayashi/ParallelWaveGAN: He normal, zero biases",
    ),
    "DeepSpeech, tones with CTC": Task(
        DeepSpeech,
        transcribed,
        lambda: transcribed(0, HELD + 22, 256, 256),
        None,
        "Amodei et al. 2016, SeanNaren/deepspeech.pytorch: torch's defaults",
    ),
    "N-BEATS, sales": Task(
        NBeats,
        sold,
        lambda: sold(0, HELD + 23, 256, 256),
        None,
        "Oreshkin et al. 2020, ServiceNow/N-BEATS: torch's defaults",
    ),
    "PatchTST, machines": Task(
        patchtst,
        sensed,
        lambda: sensed(0, HELD + 24, 256, 256),
        None,
        "transformers' PatchTST fills itself: N(0, 0.02), zero biases",
    ),
    "S4D, heartbeats": Task(
        S4Model,
        beaten,
        lambda: beaten(0, HELD + 25, 256, 256),
        None,
        "Gu et al. 2022 (S4D-Lin), state-spaces/s4 s4d.py: as the constructor leaves it",
    ),
}
