"""Sound: instruments taken apart, keywords told."""

from __future__ import annotations

from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, glu, l1_loss, silu

# Two instruments


@cache
def duets(seed: int, count: int, length: int = 256) -> torch.Tensor:
    """Return a bowed string and a drum, each alone: (count, 2, length)."""
    g = seeded(seed)
    t = torch.arange(length)
    pitch = uniform(g, count, 1, low=0.08, high=0.25)
    bend = 1 + 0.05 * torch.sin(uniform(g, count, 1, low=0.02, high=0.05) * t)
    phase = torch.cumsum(pitch * bend, dim=1) + uniform(g, count, 1, high=6.3)
    string = sum(torch.sin(k * phase) / k for k in range(1, 6)) * uniform(g, count, 1, low=0.2)
    beat = torch.randint(40, 80, (count, 1), generator=g)
    since = (t + torch.randint(80, (count, 1), generator=g)) % beat
    hit = torch.exp(-since / 8.0) * torch.randn(count, length, generator=g)
    drum = uniform(g, count, 1, low=0.3) * (hit + 2 * torch.exp(-since / 15.0) * torch.sin(since))
    return torch.stack([string, drum], dim=1)


class Demucs(nn.Module):
    """Strided convolutions with GLU, an LSTM both ways, and the way back with skips."""

    def __init__(self, channels: int = 12, depth: int = 3) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        n_in, n_out = 1, 2
        for index in range(depth):
            down = [nn.Conv1d(n_in, channels, 8, 4, 2), nn.ReLU()]
            self.encoder.append(
                nn.Sequential(*down, nn.Conv1d(channels, 2 * channels, 1), nn.GLU(1))
            )
            up: list[nn.Module] = [nn.Conv1d(channels, 2 * channels, 3, 1, 1), nn.GLU(1)]
            up.append(nn.ConvTranspose1d(channels, n_out, 8, 4, 2))
            if index > 0:
                up.append(nn.ReLU())
            self.decoder.insert(0, nn.Sequential(*up))
            n_in = n_out = channels
            channels *= 2
        self.lstm = nn.LSTM(n_in, n_in, num_layers=1, bidirectional=True)
        self.linear = nn.Linear(2 * n_in, n_in)

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Return the sources in a mix (batch, 1, length), of shape (batch, 2, length)."""
        x, saved = mix, []
        for encode in self.encoder:
            x = encode(x)
            saved.append(x)
        x = self.linear(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)
        for decode in self.decoder:
            x = decode(x + saved.pop())
        return x


def rescaled(model: nn.Module, reference: float = 0.1) -> None:
    """Divide each convolution by the root of its standard deviation over 0.1."""
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) and module.bias is not None:
            module.reset_parameters()
            with torch.no_grad():
                scale = (module.weight.std() / reference) ** 0.5
                module.weight /= scale
                module.bias /= scale


def parted(step: int, seed: int = 201, count: int = 512, batch: int = 8) -> Step:
    """Return mixes, to be taken apart."""
    sources = duets(seed, count)[rows(step, count, batch)]
    return sources.sum(1, keepdim=True), lambda output: l1_loss(output, sources)


# Keywords

WORDS, BANDS, FRAMES = 10, 20, 24


@cache
def keywords(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return spectrograms (count, 1, frames, bands) of gliding formants, and which word each is."""
    g, known = seeded(seed), seeded(8)
    paths = uniform(known, WORDS, 2, 3, low=2, high=BANDS - 3)
    word = torch.randint(WORDS, (count,), generator=g)
    start = torch.randint(0, 8, (count, 1), generator=g)
    t = ((torch.arange(FRAMES) - start) / uniform(g, count, 1, low=11, high=16))[:, None]
    bend = torch.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], dim=-1)
    centre = (bend * paths[word][:, :, None]).sum(-1) + torch.randn(count, 1, 1, generator=g)
    heard = torch.exp(-((torch.arange(BANDS) - centre[..., None]) ** 2) / 3)
    loud = heard * ((t > 0) & (t < 1))[..., None] * uniform(g, count, 1, 1, 1, low=2, high=4)
    spectra = loud.sum(1) + 0.5 * torch.randn(count, FRAMES, BANDS, generator=g)
    return spectra[:, None], word


class FeedForward(nn.Sequential):
    """The half-step network of a Conformer."""

    def __init__(self, dim: int) -> None:
        hidden = [nn.Linear(dim, 4 * dim), nn.SiLU()]
        super().__init__(nn.LayerNorm(dim), *hidden, nn.Linear(4 * dim, dim))


class ConvModule(nn.Module):
    """A gate, a convolution of each channel, batch norm and swish."""

    def __init__(self, dim: int, size: int = 7) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.pointwise1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise = nn.Conv1d(dim, dim, size, padding=size // 2, groups=dim)
        self.bn = nn.BatchNorm1d(dim)
        self.pointwise2 = nn.Conv1d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return frames (batch, frames, dim), mixed along time."""
        x = glu(self.pointwise1(self.norm(x).transpose(1, 2)), dim=1)
        return self.pointwise2(silu(self.bn(self.depthwise(x)))).transpose(1, 2)


class ConformerBlock(nn.Module):
    """Half a network, attention, convolution, half a network, and layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ff1, self.ff2 = FeedForward(dim), FeedForward(dim)
        self.attn_norm = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.conv = ConvModule(dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return frames of the same shape."""
        x = x + 0.5 * self.ff1(x)
        h = self.attn_norm(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        x = x + self.conv(x)
        return self.norm(x + 0.5 * self.ff2(x))


class Conformer(nn.Module):
    """Convolutions that halve time and bands, Conformer blocks, and the mean over time."""

    def __init__(self, dim: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.subsample = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU())
        self.linear = nn.Linear(8 * BANDS // 2, dim)
        self.blocks = nn.ModuleList(ConformerBlock(dim) for _ in range(blocks))
        self.head = nn.Linear(dim, WORDS)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        """Return the logits of words."""
        x = self.linear(self.subsample(spectra).transpose(1, 2).flatten(2))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


def spotted(step: int, seed: int = 202, count: int = 1024, batch: int = 10) -> Step:
    """Return spectrograms, the word to be told."""
    spectra, word = keywords(seed, count)
    at = rows(step, count, batch)
    return spectra[at], lambda output: cross_entropy(output, word[at])


AUDIO = {
    "Demucs, string and drum": Task(
        Demucs,
        parted,
        lambda: parted(0, HELD + 201, 256, 256),
        rescaled,
        "Défossez et al. 2019, section 4.3; demucs: weights / sqrt(std / 0.1), LSTM as torch",
    ),
    "Conformer, keywords": Task(
        Conformer,
        spotted,
        lambda: spotted(0, HELD + 202, 256, 256),
        None,
        "Gulati et al. 2020 in torchaudio.models.Conformer: torch's defaults",
    ),
}
