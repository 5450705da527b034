"""2,000 tensors of 64 to 4,096 elements, against a loop of `torch.nn.init.normal_`."""

from functools import partial

import numpy as np
import torch
from torch import nn

import isoinit
from benchmarks.timing import Row, compare, emit
from isoinit._planning.plan import Plan
from isoinit._writing.fill import fill_tensors
from isoinit._writing.placements import held


def model() -> nn.Module:
    """As many as evenly spread in the logarithm; each in a module of its own, as in a model."""
    sizes = (2 ** np.random.default_rng(0).uniform(6, 12, 2000)).astype(int)
    layers = nn.ModuleList([nn.Module() for _ in sizes])
    for layer, size in zip(layers, sizes, strict=True):
        layer.weight = nn.Parameter(torch.zeros(8, size // 8))
    return layers


def plan_for(layers: nn.Module) -> Plan:
    plan = isoinit.plan(layers)
    for entry in plan:
        plan[entry.name] = isoinit.Normal(std=0.02)
    return plan


def rows() -> list[Row]:
    layers = model()
    plan, parameters = plan_for(layers), dict(layers.named_parameters())
    parts = {name: held(name, tensor) for name, tensor in parameters.items()}

    def loop() -> None:
        for parameter in parameters.values():
            torch.nn.init.normal_(parameter, std=0.02)

    def fill() -> None:
        fill_tensors(plan.entries, parts, 0, lambda _names, _tensors: None)

    peer = "loop of torch.nn.init.normal_"
    return [
        compare("2,000 small tensors, fills", fill, peer, loop, 15),
        compare("2,000 small tensors, Plan.apply", partial(plan.apply, layers), peer, loop, 15),
    ]


if __name__ == "__main__":
    emit(rows())
