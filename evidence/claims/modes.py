"""Deep linear networks with decoupled modes, whose learning time is known at every depth.

Orthogonal matrices, of which the last turns the product so that its singular vectors are those of the
data. Then each singular value u of the product learns on its own: with a rate of c/N at each of N
matrices, u' = −c u^(2 − 2/N) (u − s), where s is that of the data (Saxe, McClelland & Ganguli 2014,
section 2.2). The exponent tends to 2, and so the learning time to a finite limit.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn

import isoinit

SCALED = 0.03  # c: a hundred steps at any depth, which follow the differential equation within 1 %
LEFT, CAP, SEED = 0.001, 1000, 7
FINE = 0.02  # steps of the integration, as a share of a step of gradient descent


def contrasts(sigma: torch.Tensor) -> torch.Tensor:
    """What of ten classes can be learned: the nine parts of Σ that are not zero, in double precision.

    The ten targets have a constant sum, of which there is nothing to learn.
    """
    _, values, right = torch.linalg.svd(sigma.double(), full_matrices=False)
    return (values[:, None] * right)[values > 1e-3 * values[0]]


def decoupled(sigma: torch.Tensor, matrices: int) -> list[torch.Tensor]:
    """Orthogonal matrices, of as many units as inputs, that begin with all modes at one."""
    sizes = [sigma.shape[1]] * matrices + [len(sigma)]
    model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]).double()
    start = torch.zeros(1, sizes[0], dtype=torch.float64)
    isoinit.init(model, start, SEED, method="orthogonal")
    weights = [layer.weight.detach() for layer in model]
    before = weights[0]
    for weight in weights[1:-1]:
        before = weight @ before
    left, _, right = torch.linalg.svd(sigma, full_matrices=False)
    weights[-1] = left @ right @ before.T
    return [weight.clone().requires_grad_() for weight in weights]


def measured(sigma: torch.Tensor, matrices: int) -> float:
    """Steps of gradient descent until 0.1 % of what can be learned is left."""
    weights = decoupled(sigma, matrices)
    optimizer = torch.optim.SGD(weights, SCALED / matrices)
    for step in range(CAP):
        product = weights[-1]
        for weight in weights[-2::-1]:
            product = product @ weight
        loss = (product - sigma).square().sum() / 2
        if 2 * loss.item() < LEFT * sigma.square().sum().item():
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return math.inf


def predicted(sigma: torch.Tensor, matrices: int) -> float:
    """The same by the differential equation of the modes, by Runge and Kutta's fourth-order steps."""
    aims = torch.linalg.svdvals(sigma).numpy()

    def slope(modes: np.ndarray) -> np.ndarray:
        return -SCALED * modes ** (2 - 2 / matrices) * (modes - aims)

    modes, steps = np.ones_like(aims), 0.0
    while np.square(modes - aims).sum() >= LEFT * np.square(aims).sum():
        one = slope(modes)
        two = slope(modes + FINE / 2 * one)
        three = slope(modes + FINE / 2 * two)
        four = slope(modes + FINE * three)
        modes = modes + FINE / 6 * (one + 2 * two + 2 * three + four)
        steps += FINE
    return steps
