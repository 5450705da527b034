"""Random number generators go on after a verb as if it had not been."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit._reading.torch.rng import generators_kept, seed_generators


def drawn():
    return torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist()


def draw_and_stop():
    with generators_kept():
        seed_generators(2**63 - 1)
        drawn()
        raise ValueError("stop")


def test_they_are_put_back_also_after_an_error():
    seed_generators(3)
    expected = drawn()
    seed_generators(3)
    with pytest.raises(ValueError, match="stop"):
        draw_and_stop()
    assert drawn() == expected


class Net(nn.Module):
    """Drops some, and draws noise."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 4)

    def forward(self, x):
        x = torch.dropout(torch.relu(self.up(x)), 0.5, train=True)
        return self.down(x + torch.randn(64) + torch.rand_like(x))


BATCH = torch.randn(8, 16)
VERBS = {
    "plan": lambda model: isoinit.plan(model, BATCH),
    "own recipe": lambda model: isoinit.plan(model, BATCH, recipe="own"),
    "init": lambda model: isoinit.init(model, BATCH, seed=0, calibrate=True),
    "check": lambda model: isoinit.check(model, BATCH),
    "audit": lambda model: isoinit.audit(Net),
    "predict": lambda model: isoinit.variational.predict(model, BATCH, samples=3),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_seed_is_left_for_a_gpu_that_is_not_in_use_yet(verb, monkeypatch):
    """torch keeps the last one until then: the caller's own would be lost in silence."""
    model, left = Net(), []
    if verb == "predict":
        model = isoinit.variational.convert(nn.Linear(16, 4), noise="local")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for function in (torch.cuda.manual_seed_all, torch.cuda.manual_seed):
        monkeypatch.setattr(torch.cuda, function.__name__, left.append)
    seed_generators(3)
    expected = drawn()
    seed_generators(3)
    VERBS[verb](model)
    if verb != "predict":  # which draws the first index from torch's default generator
        assert drawn() == expected
    assert left == []
