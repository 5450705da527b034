"""Models of torch's own layers and by hand: how to build them, and where multipliers belong."""

import math
from functools import partial
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

from explicit.families import LENGTH, WORDS, Family, words
from explicit.reference import Multipliers, scale_output


def inputs(step, *shape):
    noise = torch.Generator().manual_seed(step % 3)
    return torch.randn(6, *shape, generator=noise, dtype=torch.float64)


def classes(*shape):
    def loss(model, step):
        return functional.cross_entropy(model(inputs(step, *shape)), torch.arange(6) % 5)

    return loss


def labels(model, step):
    given = words(step)
    return functional.cross_entropy(model(given)[:, :-1].flatten(0, 1), given[:, 1:].flatten())


def plain(build, *shape, inside=None, **more):
    """A model that takes one tensor and tells five classes apart."""
    batch = lambda step: inputs(step, *shape)  # noqa: E731
    return Family(build, batch, classes(*shape), Multipliers(**more), inside)


def reader(build, inside=None, **more):
    """A model that takes words and says the next one."""
    return Family(build, words, labels, Multipliers(**more), inside)


def mlp(width, blocks):
    hidden = [m for _ in range(blocks) for m in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(12, width), nn.ReLU(), *hidden, nn.Linear(width, 5))


class Block(nn.Module):
    def __init__(self, width, makes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width, makes, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(makes)
        self.conv2 = nn.Conv2d(makes, makes, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(makes)
        self.skip = nn.Conv2d(width, makes, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x):
        inner = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(inner + self.skip(x))


def resnet(width, blocks):
    stages = [Block(width, width, 1) for _ in range(blocks)]
    stem = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 5)]
    return nn.Sequential(*stem, *stages, Block(width, 2 * width, 2), *end)


class Recurrent(nn.Module):
    def __init__(self, width, blocks, kind=nn.LSTM, both=False):
        super().__init__()
        self.rnn = kind(8, width, blocks, batch_first=True, bidirectional=both)
        self.head = nn.Linear(width * (1 + both), 5)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Encoder(nn.Module):
    """Torch's own Transformer between two linear layers."""

    def __init__(self, width, blocks, norm_first=False):
        super().__init__()
        self.stem = nn.Linear(8, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, norm_first=norm_first)
        self.stack = nn.TransformerEncoder(layer, blocks, nn.LayerNorm(width), False)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.stack(self.stem(x)).mean(1))


class Translator(nn.Module):
    """Torch's own encoder and decoder."""

    def __init__(self, width, blocks):
        super().__init__()
        self.stem = nn.Linear(8, width)
        self.both = nn.Transformer(width, 2, blocks, blocks, 2 * width, 0.0, batch_first=True)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.both(x, x.flip(1)).mean(1))


def shrink_fused(model, grown):
    """Multiply the queries that torch's attention is called with: it has no number to change."""
    forward, own = model.forward, functional.scaled_dot_product_attention

    def scaled(q, *more, **named):
        return own(q * grown.head**-0.5, *more, **named)

    def replaced(*given):
        with mock.patch.object(functional, "scaled_dot_product_attention", scaled):
            return forward(*given)

    model.forward = replaced


def shrink_layers(model, grown):
    """Multiply what the branches of torch's layers end with: their dropouts."""
    for layer in model.stack.layers:
        for end in (layer.dropout1, layer.dropout2):
            scale_output(end, grown.depth**-grown.alpha)


class Attention(nn.Module):
    """Attention spelled out, with scores × d^power."""

    def __init__(self, width, power, norms=None, heads=2):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.heads, self.scaling = heads, (width // heads) ** power
        normed = {None: nn.Identity, "bare": _bare, "gain": nn.RMSNorm}[norms]
        self.q_norm, self.k_norm = normed(width // heads), normed(width // heads)

    def forward(self, x):
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (f(x).view(shape).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = self.q_norm(q) @ self.k_norm(k).transpose(-1, -2) * self.scaling
        future = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return self.o(mixed.transpose(1, 2).flatten(2))


def _bare(width):
    return nn.RMSNorm(width, elementwise_affine=False)


class Tiny(nn.Module):
    """A language model by hand.

    Args:
        width, blocks: its size.
        power: the scores are multiplied by this power of the head's width.
        norms: of queries and keys: None, "gain" or "bare" (without gain).
        end: the norm before the readout: "gain", "bare", or None.
        tied: whether the readout is the table.
        normed: whether blocks begin with norms.
    """

    def __init__(self, width, blocks, power=-0.5, norms=None, end="gain", tied=False, normed=True):
        super().__init__()
        self.table = nn.Embedding(WORDS, width)
        self.position = nn.Parameter(torch.randn(LENGTH, width))
        norm = nn.LayerNorm if normed else nn.Identity
        self.norms = nn.ModuleList(norm(width) for _ in range(blocks))
        self.blocks = nn.ModuleList(Attention(width, power, norms) for _ in range(blocks))
        self.end = {None: nn.Identity, "bare": _bare, "gain": nn.LayerNorm}[end](width)
        self.head = nn.Linear(width, WORDS, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids) + self.position
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.head(self.end(x))


class Constants(Tiny):
    """The same with constants of its own: a table × √d, branches over their number."""

    def forward(self, ids):
        x = self.table(ids) * math.sqrt(self.table.embedding_dim) + self.position
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x)) / len(self.blocks)
        return self.head(self.end(x))


def shrink_rows(model, grown):
    """Undo that the table is multiplied by the root of its width."""
    scale_output(model.table, grown.width**-0.5)


PLAIN = {
    "MLP": plain(mlp, 12),
    "ResNet": plain(resnet, 3, 8, 8),
    "LSTM": plain(Recurrent, 7, 8),
    "GRU, both ways": plain(partial(Recurrent, kind=nn.GRU, both=True), 7, 8),
    "torch's Transformer": plain(Encoder, 7, 8, others=[shrink_fused]),
    "torch's Transformer, norms first": plain(
        partial(Encoder, norm_first=True),
        *(7, 8),
        inside=r"layers\.\d+\.",
        others=[shrink_fused, shrink_layers],
    ),
    "torch's encoder and decoder": plain(Translator, 7, 8, others=[shrink_fused]),
    "scores by 1/√d": reader(Tiny, r"(norms|blocks)\.", branches=r"blocks\.\d+"),
    "scores by 1/d": reader(partial(Tiny, power=-1.0), scores=0.0),
    "norms of queries with gain": reader(partial(Tiny, norms="gain")),
    "constants of its own": reader(
        partial(Constants, tied=True),
        r"(norms|blocks)\.",  # over their number is what the papers ask of branches
        readout="head",
        others=[shrink_rows],
    ),
    "tied by hand": reader(partial(Tiny, tied=True), readout="head"),
}
# What a change of the forward alone could do, by the multiplier: isoinit must say so.
SAID = {
    "norms of queries without gain": (reader(partial(Tiny, norms="bare")), "scores", "0.5"),
    "tied, no norm at all": (
        reader(partial(Tiny, tied=True, end=None, normed=False), readout="head"),
        *("readout", "0.25"),
    ),
}
# Where the whole residual stream is stored smaller, and how much.
STREAMS = {
    "tied, a norm without gain before": (
        reader(partial(Tiny, tied=True, end="bare"), readout="head"),
        0.25,
    ),
    "tied, no norm before": (reader(partial(Tiny, tied=True, end=None), readout="head"), 0.5),
}
