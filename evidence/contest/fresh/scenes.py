"""Scenes and pictures: detection, super-resolution."""

from __future__ import annotations

from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, uniform
from evidence.contest.fresh.images import grid
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, l1_loss

# Detection


@cache
def scenes(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scenes with up to four objects, and per cell of a 6 x 6 grid: class and four distances.

    The target has shape (count, 3 + 4, 6, 6): which of three classes has an object there, and how far
    its box reaches from the cell's centre, in cells.
    """
    g = seeded(seed)
    y, x = grid(24)
    image = 0.3 * torch.randn(count, 3, 24, 24, generator=g)
    target = torch.zeros(count, 7, 6, 6)
    every = torch.arange(count)
    for _ in range(4):
        kind = torch.randint(3, (count,), generator=g)
        cell = torch.randint(6, (2, count), generator=g)
        shift = uniform(g, 2, count, low=-0.5, high=0.5)
        half = uniform(g, 2, count, low=0.6, high=1.4)
        cy, cx = ((cell + 0.5 + shift) / 3 - 1)[..., None, None]
        hy, hx = (half / 3)[..., None, None]
        u, v = (x - cx) / hx, (y - cy) / hy
        disc, box = u**2 + v**2 < 1, torch.maximum(u.abs(), v.abs()) < 1
        bar = box & (torch.minimum(u.abs(), v.abs()) < 0.35)
        mask = torch.stack([disc, box, bar])[kind, every][:, None].float()
        image = image * (1 - mask) + mask * uniform(g, count, 3, 1, 1, low=0.5, high=2)
        target[every, :, cell[0], cell[1]] = 0
        target[every, kind, cell[0], cell[1]] = 1
        sides = torch.cat([half + shift, half - shift])
        target[every, 3:, cell[0], cell[1]] = sides.T
    return image, target


class Detector(nn.Module):
    """An anchor-free detector: a residual trunk, and towers for classes and boxes."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()

        def conv(n_in: int, n_out: int, stride: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)]

        def tower(n_out: int) -> nn.Sequential:
            hidden = [nn.Conv2d(width, width, 3, 1, 1), nn.GroupNorm(4, width), nn.ReLU()]
            return nn.Sequential(*hidden, nn.Conv2d(width, n_out, 3, 1, 1))

        self.stem = nn.Sequential(*conv(3, 12, 2), nn.ReLU(), *conv(12, width, 2), nn.ReLU())
        self.block1 = nn.Sequential(*conv(width, width), nn.ReLU(), *conv(width, width))
        self.block2 = nn.Sequential(*conv(width, width), nn.ReLU(), *conv(width, width))
        self.classes, self.boxes = tower(3), tower(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of classes and distances, of shape (batch, 7, height / 4, width / 4)."""
        x = self.stem(x)
        x = torch.relu(x + self.block1(x))
        x = torch.relu(x + self.block2(x))
        return torch.cat([self.classes(x), torch.exp(self.boxes(x))], dim=1)


def fcos(model: nn.Module) -> None:
    """Fill as FCOS: heads N(0, 0.01), the classes' bias for a prior of 0.01; the trunk as a ResNet."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and name.startswith(("classes", "boxes")):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(model.get_parameter(f"{name}.bias"))
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.constant_(model.get_parameter("classes.3.bias"), -4.595)


def detected(step: int, seed: int = 4, count: int = 1024, batch: int = 12) -> Step:
    """Return scenes, and the focal loss of their classes with the distance of their boxes."""
    image, target = scenes(seed, count)
    at = rows(step, count, batch)
    truth, sides = target[at, :3], target[at, 3:]

    def loss(output: torch.Tensor) -> torch.Tensor:
        raw = binary_cross_entropy_with_logits(output[:, :3], truth, reduction="none")
        p = torch.sigmoid(output[:, :3])
        sure = p * truth + (1 - p) * (1 - truth)
        alpha = 0.25 * truth + 0.75 * (1 - truth)
        found = truth.sum()
        focal = (alpha * (1 - sure) ** 2 * raw).sum() / found
        there = truth.sum(1, keepdim=True)
        return focal + ((output[:, 3:] - sides).abs() * there).sum() / (4 * found)

    return image[at], loss


# Super-resolution


@cache
def leaves(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures of fallen leaves (discs on discs), small and large, between 0 and 255."""
    g = seeded(seed)
    y, x = grid(24)
    image = uniform(g, count, 3, 1, 1, high=255).expand(-1, -1, 24, 24)
    for _ in range(12):
        cy, cx = uniform(g, 2, count, 1, 1, 1, low=-1.2, high=1.2)
        radius = uniform(g, count, 1, 1, 1, low=0.15, high=0.7)
        edge = torch.sigmoid(((radius**2 - (x - cx) ** 2 - (y - cy) ** 2) / radius) * 40)
        image = image * (1 - edge) + uniform(g, count, 3, 1, 1, high=255) * edge
    return avg_pool2d(image, 2), image


class EDSR(nn.Module):
    """Residual blocks without norm that double a picture's size."""

    def __init__(self, width: int = 16, blocks: int = 6) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(True),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.fusion = nn.Conv2d(width, width, 3, padding=1)
        self.up = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the picture at twice the size."""
        x = self.head(x - 127.5)
        res = x
        for block in self.body:
            res = res + block(res)
        return self.tail(self.up(x + self.fusion(res))) + 127.5


def enlarged(step: int, seed: int = 5, count: int = 384, batch: int = 3) -> Step:
    """Return small pictures, to be enlarged."""
    small, large = leaves(seed, count)
    at = rows(step, count, batch)
    return small[at], lambda output: l1_loss(output, large[at])


SCENES = {
    "detector, objects in scenes": Task(
        Detector,
        detected,
        lambda: detected(0, HELD + 4, 128, 128),
        fcos,
        "Tian et al. 2019 (FCOS) and its code: heads N(0, 0.01), prior 0.01; trunk as a ResNet",
    ),
    "EDSR, fallen leaves": Task(
        EDSR,
        enlarged,
        lambda: enlarged(0, HELD + 5, 64, 64),
        None,
        "Lim et al. 2017, EDSR-PyTorch: torch's defaults",
    ),
}
