"""Pictures: dense blocks, a volume of costs, capsules, convolutions that turn."""

from __future__ import annotations

import math
from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.fresh.images import grid
from evidence.contest.task import Step, Task
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, relu, smooth_l1_loss

# Wafers


@cache
def wafers(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return maps of dies (count, 1, 16, 16): 0 outside, 1 sound, 2 failed; and the kind of failure.

    Kinds: at the centre, in a ring, at the edge, in one spot, along a scratch, anywhere.
    """
    g = seeded(seed)
    y, x = grid(16)
    r = (y**2 + x**2).sqrt()
    kind = torch.randint(6, (count,), generator=g)
    at = uniform(g, count, 2, 1, 1, low=-0.6, high=0.6)
    angle = uniform(g, count, 1, 1, high=math.pi)
    size = uniform(g, count, 1, 1, low=0.2, high=0.35)
    dy, dx = y - at[:, 0], x - at[:, 1]
    along, across = dy * angle.sin() + dx * angle.cos(), dy * angle.cos() - dx * angle.sin()
    regions = [
        r < size + 0.1,
        (r - 0.55).abs() < size / 2,
        r > 0.95 - size / 3,
        (dy - 0.2) ** 2 + (dx - 0.2) ** 2 < size**2,
        (across.abs() < 0.09) & (along.abs() < 2 * size),
        torch.zeros(16, 16, dtype=torch.bool),
    ]
    masks = torch.stack([region.expand(count, 16, 16) for region in regions])
    likely = 0.06 + 0.7 * masks[kind, torch.arange(count)] + 0.14 * (kind == 5)[:, None, None]
    failed = torch.rand(count, 16, 16, generator=g) < likely
    return ((r < 1.02) * (1.0 + failed))[:, None], kind


class DenseLayer(nn.Module):
    """A bottleneck and a convolution, both behind batch norm and ReLU; what came in is kept."""

    def __init__(self, n_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(2 * growth)
        self.conv1 = nn.Conv2d(n_in, 2 * growth, 1, bias=False)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input with `growth` new channels."""
        h = self.conv1(relu(self.norm1(x)))
        return torch.cat([x, self.conv2(relu(self.norm2(h)))], dim=1)


def densenet(growth: int = 6, layers: tuple[int, ...] = (4, 4)) -> nn.Module:
    """Return two dense blocks, halved in size and channels between them."""
    width = 2 * growth
    modules: list[nn.Module] = [nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)]
    for block, deep in enumerate(layers):
        if block:
            half = nn.Conv2d(width, width // 2, 1, bias=False)
            modules += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), half, nn.AvgPool2d(2)]
            width //= 2
        for _ in range(deep):
            modules.append(DenseLayer(width, growth))
            width += growth
    last = [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*modules, *last, nn.Linear(width, 6))


def he_convolutions(model: nn.Module) -> None:
    """Fill convolutions as He's normal by the inputs; the head's bias 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def inspected(step: int, seed: int = 231, count: int = 1024, batch: int = 12) -> Step:
    """Return wafers, the kind of failure to be told."""
    wafer, kind = wafers(seed, count)
    at = rows(step, count, batch)
    return wafer[at], lambda output: cross_entropy(output, kind[at])


# Stereo

FAR, HIGH, WIDE = 6, 9, 18


@cache
def stereo(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return left and right pictures (count, 1, height, width), and how far each left pixel moved."""
    g = seeded(seed)
    texture = torch.randn(count, HIGH, WIDE + FAR, generator=g)
    y, x = torch.arange(HIGH)[:, None], torch.arange(WIDE)
    shift = torch.randint(0, 3, (count, 1, 1), generator=g).expand(-1, HIGH, WIDE)
    for _ in range(2):
        top = torch.randint(HIGH - 4, (count, 1, 1), generator=g)
        left = torch.randint(WIDE - 6, (count, 1, 1), generator=g)
        tall = torch.randint(4, 9, (count, 1, 1), generator=g)
        inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + 8)
        near = torch.randint(2, FAR, (count, 1, 1), generator=g)
        shift = torch.where(inside, torch.maximum(near, shift), shift)
    right = texture[:, :, :WIDE]
    at = (x - shift).expand(count, HIGH, WIDE)
    seen = right.gather(2, at.clamp(min=0))
    left_picture = torch.where(at >= 0, seen, torch.randn(count, HIGH, WIDE, generator=g))
    noise = 0.1 * torch.randn(2, count, HIGH, WIDE, generator=g)
    return (left_picture + noise[0])[:, None], (right + noise[1])[:, None], shift.float()


class StereoNet(nn.Module):
    """Features of both pictures, a volume of their pairs at each shift, and 3d convolutions."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()

        def conv(n_in: int, n_out: int) -> nn.Sequential:
            layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
            return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))

        def conv3d(n_in: int, n_out: int) -> nn.Sequential:
            layer = nn.Conv3d(n_in, n_out, 3, padding=1, bias=False)
            return nn.Sequential(layer, nn.BatchNorm3d(n_out))

        final = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.features = nn.Sequential(conv(1, width), conv(width, width), final)
        self.dres0 = nn.Sequential(conv3d(2 * width, width), nn.ReLU(inplace=True))
        self.dres1 = nn.Sequential(
            conv3d(width, width), nn.ReLU(inplace=True), conv3d(width, width)
        )
        self.classify = nn.Conv3d(width, 1, 3, padding=1, bias=False)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return the expected shift of each pixel, of shape (batch, height, width)."""
        left, right = self.features(left), self.features(right)
        cost = left.new_zeros(len(left), 2 * left.shape[1], FAR, *left.shape[2:])
        for i in range(FAR):
            cost[:, : left.shape[1], i, :, i:] = left[..., i:]
            cost[:, left.shape[1] :, i, :, i:] = right[..., : WIDE - i]
        cost = self.dres0(cost)
        cost = self.dres1(cost) + cost
        p = torch.softmax(self.classify(cost).squeeze(1), dim=1)
        return (p * torch.arange(float(FAR))[:, None, None]).sum(1)


def psmnet(model: nn.Module) -> None:
    """Fill convolutions with N(0, 2 / (kernel x outputs))."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            n = math.prod(module.kernel_size) * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2 / n))


def matched(step: int, seed: int = 232, count: int = 512, batch: int = 2) -> Step:
    """Return pairs of pictures, the shift of each pixel to be told."""
    left, right, shift = stereo(seed, count)
    at = rows(step, count, batch)
    given = {"left": left[at], "right": right[at]}
    return given, lambda output: smooth_l1_loss(output, shift[at])


# Capsules


def squash(s: torch.Tensor) -> torch.Tensor:
    """Return vectors of the same direction, shorter than 1."""
    norm = s.norm(dim=-1, keepdim=True)
    return norm / (1 + norm**2) * s


class CapsNet(nn.Module):
    """Convolutions that make capsules, and one capsule for each digit, routed by agreement."""

    def __init__(self, kinds: int = 4, dim: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3)
        self.primary = nn.Conv2d(32, kinds * 8, 3, stride=2, padding=1)
        self.weight = nn.Parameter(0.01 * torch.randn(10, kinds * 9, dim, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the length of each digit's capsule, of shape (batch, 10)."""
        x = self.primary(relu(self.conv(x)))
        u = squash(x.unflatten(1, (-1, 8)).movedim(2, -1).flatten(1, 3))
        votes = torch.einsum("oidk,bik->boid", self.weight, u)
        detached = votes.detach()
        b = torch.zeros(votes.shape[:3])
        for _ in range(2):
            v = squash((torch.softmax(b, dim=1)[..., None] * detached).sum(2))
            b = b + (v[:, :, None] * detached).sum(-1)
        v = squash((torch.softmax(b, dim=1)[..., None] * votes).sum(2))
        return v.norm(dim=-1)


@cache
def scans() -> tuple[torch.Tensor, torch.Tensor]:
    """Return 1,797 digits between 0 and 1, shuffled, and which each is."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=seeded(233))
    x = torch.tensor(data.data, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    return x[order], torch.tensor(data.target)[order]


def routed(step: int, held: bool = False, batch: int = 32) -> Step:
    """Return digits, and the margin loss of their capsules."""
    x, y = scans()
    at = torch.arange(256) if held else 256 + rows(step, len(x) - 256, batch)
    true = torch.nn.functional.one_hot(y[at], 10)

    def loss(length: torch.Tensor) -> torch.Tensor:
        there, absent = relu(0.9 - length) ** 2, relu(length - 0.1) ** 2
        return (true * there + 0.5 * (1 - true) * absent).sum(1).mean()

    return x[at], loss


# Turned pieces

PIECES = ("####", "##/##", "###/.#.", "##./.##", ".##/##.", "#../###", "..#/###")


@cache
def pieces(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy pictures (count, 1, 11, 11) of turned, moved tetrominoes, and their kinds."""
    g = seeded(seed)
    kind = torch.randint(7, (count,), generator=g)
    turn = torch.randint(4, (count,), generator=g)
    place = torch.randint(8, (count, 2), generator=g)
    picture = 0.15 * torch.randn(count, 1, 11, 11, generator=g)
    for row, (k, t, (top, left)) in enumerate(
        zip(kind.tolist(), turn.tolist(), place.tolist(), strict=True)
    ):
        lines = [[float(c == "#") for c in line] for line in PIECES[k].split("/")]
        shape = torch.rot90(torch.tensor(lines), t)
        high, wide = shape.shape
        top, left = min(top, 11 - high), min(left, 11 - wide)
        picture[row, 0, top : top + high, left : left + wide] += shape
    return picture, kind


class GroupConv(nn.Module):
    """A convolution over the plane and its quarter turns: one kernel, seen in four directions."""

    def __init__(self, n_in: int, n_out: int, turns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, turns, 3, 3))
        self.bias = nn.Parameter(torch.empty(n_out))
        bound = 1 / math.sqrt(n_in * 9)  # as published: turns are not counted
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps (batch, outputs, 4, height, width) of maps (batch, inputs, turns, ...)."""
        turned = [torch.rot90(self.weight.roll(r, 2), r, (3, 4)) for r in range(4)]
        kernel = torch.stack(turned, dim=1).flatten(2, 3).flatten(0, 1)
        y = conv2d(x.flatten(1, 2), kernel, self.bias.repeat_interleave(4))
        return y.unflatten(1, (-1, 4))


class P4CNN(nn.Module):
    """Four group convolutions with batch norm; the largest over turns and places is read."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        sizes = [(1, width, 1), *[(width, width, 4)] * 3]
        self.convs = nn.ModuleList(GroupConv(*size) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm3d(width) for _ in sizes)
        self.head = nn.Linear(width, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of pieces."""
        x = x[:, :, None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = relu(norm(conv(x)))
        return self.head(x.amax(dim=(2, 3, 4)))


def turned(step: int, seed: int = 234, count: int = 3000, batch: int = 24) -> Step:
    """Return turned pieces, each to be named."""
    picture, kind = pieces(seed, count)
    at = rows(step, count, batch)
    return picture[at], lambda output: cross_entropy(output, kind[at])


IMAGES = {
    "DenseNet, wafers": Task(
        densenet,
        inspected,
        lambda: inspected(0, HELD + 231, 256, 256),
        he_convolutions,
        "Huang et al. 2017 in torchvision: He's normal, the head's bias 0",
    ),
    "volume of costs, stereo": Task(
        StereoNet,
        matched,
        lambda: matched(0, HELD + 232, 128, 128),
        psmnet,
        "Chang & Chen 2018, PSMNet's code: N(0, 2 / (kernel x outputs))",
    ),
    "capsules, digits": Task(
        CapsNet,
        routed,
        lambda: routed(0, held=True),
        None,
        "Sabour et al. 2017; XifengGuo/CapsNet-Pytorch: votes 0.01 x N(0, 1), else torch's defaults",
    ),
    "group convolutions, turned pieces": Task(
        P4CNN,
        turned,
        lambda: turned(0, HELD + 234, 256, 256),
        None,
        "Cohen & Welling 2016; adambielski/GrouPy: U(±1 / sqrt(inputs x kernel)), turns not counted",
    ),
}
