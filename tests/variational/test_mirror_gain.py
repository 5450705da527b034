"""The gain that gives mirrored units back what noise takes."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoinit
from isoinit.variational.mirror_gain import restoring_gain


def test_relu_needs_the_same_gain_at_every_size_of_the_signal():
    """ReLU is homogeneous: a quarter of the second moment before and behind changes nothing."""
    sizes = itertools.pairwise([8, *[16] * 14])
    layers = [part for a, b in sizes for part in (nn.Linear(a, b), nn.ReLU())]
    entry = isoinit.plan(nn.Sequential(*layers), torch.zeros(2, 8))["14.weight"]
    numbers = dict(entry.numbers)
    assert (numbers["q"], entry.initializer.mirror) == (1, "both")
    smaller = numbers | {"q": 0.25, "E[x²]": numbers["E[x²]"] / 4}
    found = restoring_gain(replace(entry, numbers=tuple(smaller.items())), 1.0)
    assert found == pytest.approx(restoring_gain(entry, 1.0))
    assert found > 1
