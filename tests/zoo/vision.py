"""Networks for images."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def conv(n_in, n_out, size=3, stride=1, groups=1):
    padding = size // 2
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
    )


class Bottleneck(nn.Module):
    """He et al. 2016, figure 5."""

    def __init__(self, n_in, width, stride=1):
        super().__init__()
        n_out = 4 * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += skip
        return self.relu(y)


class ResNet50(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in = 64
        for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            blocks = []
            for block in range(depth):
                blocks.append(Bottleneck(n_in, width, 2 if block == 0 and stage > 1 else 1))
                n_in = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(n_in, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class DenseNet(nn.Module):
    """Huang et al. 2017: each layer reads all layers before it, concatenated."""

    def __init__(self, growth=8, layers=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16 + i * growth) for i in range(layers))
        self.convs = nn.ModuleList(
            nn.Conv2d(16 + i * growth, growth, 3, padding=1) for i in range(layers)
        )
        self.head = nn.Linear(16 + layers * growth, 10)

    def forward(self, x):
        features = [self.stem(x)]
        for norm, layer in zip(self.norms, self.convs, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, 1)))))
        return self.head(torch.cat(features, 1).mean((2, 3)))


class InvertedResidual(nn.Module):
    """Sandler et al. 2018: wide in the middle, linear at the end."""

    def __init__(self, n, expand=6):
        super().__init__()
        self.expand = conv(n, n * expand, 1)
        self.depthwise = conv(n * expand, n * expand, 3, groups=n * expand)
        self.project = conv(n * expand, n, 1)

    def forward(self, x):
        return x + self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8, 3, 2)
        self.blocks = nn.Sequential(InvertedResidual(8), InvertedResidual(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.blocks(F.relu6(self.stem(x))).mean([2, 3]))


class UNet(nn.Module):
    """Ronneberger et al. 2015, two levels."""

    def __init__(self, width=8):
        super().__init__()
        self.down1 = nn.Conv2d(3, width, 3, padding=1)
        self.down2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.bottom = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.rise2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up2 = nn.Conv2d(4 * width, 2 * width, 3, padding=1)
        self.rise1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.up1 = nn.Conv2d(2 * width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        c = F.relu(self.bottom(F.max_pool2d(b, 2)))
        y = F.relu(self.up2(torch.cat([b, self.rise2(c)], 1)))
        y = F.relu(self.up1(torch.cat([a, self.rise1(y)], 1)))
        return self.out(y)


class ConvNeXtBlock(nn.Module):
    """Liu et al. 2022, with the scale of Touvron et al. 2021 at the end."""

    def __init__(self, n):
        super().__init__()
        self.depthwise = nn.Conv2d(n, n, 7, padding=3, groups=n)
        self.norm = nn.LayerNorm(n)
        self.wide, self.narrow = nn.Linear(n, 4 * n), nn.Linear(4 * n, n)
        self.gamma = nn.Parameter(1e-6 * torch.ones(n))

    def forward(self, x):
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.gamma * self.narrow(F.gelu(self.wide(self.norm(y))))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.Sequential(ConvNeXtBlock(16), ConvNeXtBlock(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((-2, -1)))


class MixerBlock(nn.Module):
    """Tolstikhin et al. 2021: across the patches, then across the channels."""

    def __init__(self, patches, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token1, self.token2 = nn.Linear(patches, 32), nn.Linear(32, patches)
        self.channel1, self.channel2 = nn.Linear(width, 64), nn.Linear(64, width)

    def forward(self, x):
        y = self.norm1(x).transpose(1, 2)
        x = x + self.token2(F.gelu(self.token1(y))).transpose(1, 2)
        return x + self.channel2(F.gelu(self.channel1(self.norm2(x))))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.blocks = nn.Sequential(MixerBlock(16, 16), MixerBlock(16, 16))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))
