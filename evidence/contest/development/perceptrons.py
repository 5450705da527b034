"""Multilayer perceptrons: deep, residual, gated, of unequal widths, and on a raw table."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import torch
from evidence.contest.development.batches import (
    Rows,
    classified,
    drawn,
    generated,
    split,
    training_rows,
)
from evidence.contest.development.recipes import fill, he, xavier, zero
from evidence.contest.task import Step, Task
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

WIDTH, DEPTH, BRANCHES, LINKS = 64, 20, 10, 8


def plain(activation: Callable[[], nn.Module]) -> nn.Module:
    """Return twenty layers without norm or skip."""
    hidden = [m for _ in range(DEPTH - 1) for m in (nn.Linear(WIDTH, WIDTH), activation())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 10))


def lecun_uniform(model: nn.Module) -> None:
    """Fill as the networks of Brax."""
    fill(model, lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"))


class Residual(nn.Module):
    """Ten residual blocks without norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(BRANCHES)
        )
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def fixup(model: nn.Module) -> None:
    """Fill as Fixup: branches scaled by their number, their last layer and the head of zero."""
    assert isinstance(model, Residual)
    he(model)
    for block in model.blocks:
        assert isinstance(block, nn.Sequential)
        first, _, last = block
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            first.weight.mul_(BRANCHES**-0.5)
        zero(last)
    zero(model.head)


class Carried(nn.Module):
    """A highway layer: a gate mixes what is worked out with what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.work = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, of the input's shape."""
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.work(x)) + (1 - gate) * x


def highway() -> nn.Module:
    """Return a highway network of twelve gated layers, each 50 wide."""
    return nn.Sequential(nn.Linear(64, 50), *(Carried(50) for _ in range(12)), nn.Linear(50, 10))


def closed_gates(model: nn.Module) -> None:
    """Fill as highway networks: He's, and the gates' biases of -2."""
    he(model)
    for module in model.modules():
        if isinstance(module, Carried):
            nn.init.constant_(module.gate.bias, -2.0)


def unequal() -> nn.Module:
    """Return sigmoid layers, wide and narrow in turn."""
    sizes = [LINKS, 320, 12, 200, 2]
    layers = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), nn.Sigmoid())]
    return nn.Sequential(*layers[:-1])


def reached(seed: int, count: int) -> Step:
    """Return the angles of an arm of eight links, and the distance from where its hand is."""
    angles = (torch.rand(count, LINKS, generator=drawn(seed)) - 0.5) * math.pi / 2
    turned = angles.cumsum(1)
    hand = torch.stack([turned.cos().sum(1), turned.sin().sum(1)], 1)
    return angles, lambda output: mse_loss(output, hand)


def sigmoid_xavier(model: nn.Module) -> None:
    """Fill as the deep learning tutorials: Xavier's, four times as large for sigmoid."""
    fill(model, lambda weight: nn.init.xavier_uniform_(weight, gain=4.0))


@cache
def table() -> tuple[Rows, Rows]:
    """Return the raw measures of tumours, 0.001 to 4,000 in size, to train on and held out."""
    data = load_breast_cancer()
    x, y = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)
    return split(x, y, 169)


def _diagnosed(rows: Rows) -> Step:
    x, y = rows
    return x, lambda output: cross_entropy(output, y)


def diagnosed(step: int) -> Step:
    """Return raw measures, and the cross entropy of the diagnosis."""
    return _diagnosed(training_rows(table()[0], step, 64))


def tabular() -> nn.Module:
    """Return a perceptron for a table of 30 columns."""
    return nn.Sequential(
        nn.Linear(30, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 2)
    )


def sklearn_like(model: nn.Module) -> None:
    """Fill as scikit-learn's `MLPClassifier`: weights and biases by both fans."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)


FLAT = classified((64,), 64)
TASKS = {
    "MLP, ReLU": Task(
        partial(plain, nn.ReLU),
        *FLAT,
        he,
        "He et al. 2015, equation 10: normal of variance 2 / fan-in, biases of zero",
    ),
    "MLP, tanh": Task(
        partial(plain, nn.Tanh),
        *FLAT,
        xavier,
        "Glorot & Bengio 2010, equation 16: uniform by both fans, biases of zero",
    ),
    "MLP, SiLU": Task(
        partial(plain, nn.SiLU),
        *FLAT,
        lecun_uniform,
        "Freeman et al. 2021 (Brax), its code, whose MLPs have swish: LeCun uniform, biases of zero",
    ),
    "residual MLP": Task(
        Residual,
        *FLAT,
        fixup,
        "Zhang, Dauphin & Ma 2019 (Fixup), section 3: branches / sqrt(their number), the last "
        "layer of each and the head of zero",
    ),
    "highway network": Task(
        highway,
        *FLAT,
        closed_gates,
        "Srivastava, Greff & Schmidhuber 2015, sections 2.2 and 3: He et al. 2015, gate biases of -2",
    ),
    "sigmoids of unequal widths, robot arm": Task(
        unequal,
        *generated(reached, 128),
        sigmoid_xavier,
        "Glorot & Bengio 2010 as in the Theano deep learning tutorials: 4 sqrt(6 / both fans), zero",
    ),
    "MLP on a raw table": Task(
        tabular,
        diagnosed,
        lambda: _diagnosed(table()[1]),
        sklearn_like,
        "scikit-learn's MLPClassifier, _init_coef: weights and biases U(±sqrt(6 / both fans))",
    ),
}
