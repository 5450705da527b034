"""Other ways to train a sparse network: dense weights behind a mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from evidence.sparse.networks import LEAST, plain
from sparsimony.distributions.base import UniformDistribution
from sparsimony.dst.rigl import RigL
from sparsimony.schedulers.base import CosineDecayScheduler
from torch import nn
from torch.nn.utils import prune


def pruned(width: int, density: float, seed: int) -> nn.Module:
    """A plain network behind a random mask: `torch.nn.utils.prune`."""
    model = plain(width, seed)
    for layer, share in ((model[0], max(density, LEAST)), (model[2], density)):
        prune.random_unstructured(layer, "weight", amount=1 - share)
    return model


def rigl(
    model: nn.Module, optimizer: torch.optim.Optimizer, density: float, steps: int
) -> Callable[[], object]:
    """Make a plain network sparse with sparsimony; gives what is to be called after each step.

    As Evci et al. 2020: three tenths of the weights move at first, none after three quarters of
    training. Ten moves are made, for there are few steps.
    """
    end = 3 * steps // 4
    scheduler = CosineDecayScheduler(pruning_ratio=0.3, t_end=end, delta_t=max(1, end // 10))
    sparsifier = RigL(scheduler, UniformDistribution(), optimizer, sparsity=1 - density)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}, {"tensor_fqn": "2.weight"}])
    return sparsifier.step
