"""microsoft/mup 1.0.0 and isoinit train its own kinds of model alike. `make peers` installs it."""

import pytest
import torch
from torch import nn

import isoinit
from explicit.plain import PLAIN, Tiny, mlp
from explicit.reference import Growth

mup = pytest.importorskip("mup")
GROWN = Growth()
HEAD = (64 // 2) ** -1 * (16 // 2) ** 0.5  # q·k/d, and as the base model has it there


def tiny(width, tied):
    return Tiny(width, 2, tied=tied)


def of_mup(width, tied):
    """The same, rewritten as mup asks."""
    model = Tiny(width, 2)
    if tied:
        model.head = mup.MuSharedReadout(model.table.weight, bias=False)
    else:
        model.head = mup.MuReadout(width, model.head.out_features, bias=False)
    for block in model.blocks:
        block.scaling = (width // 2) ** -1 * (16 // 2) ** 0.5
    return model


def perceptron(width, tied):
    model = mlp(width, 2)
    model[-1] = mup.MuReadout(width, 5)
    return model


CASES = {
    "MLP": (lambda width, tied: mlp(width, 2), perceptron, PLAIN["MLP"], False),
    "Transformer": (tiny, of_mup, PLAIN["tied by hand"], False),
    "tied Transformer": (tiny, of_mup, PLAIN["tied by hand"], True),
}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", CASES)
def test_trains_alike(name, optimizer):
    ours, theirs, family, tied = CASES[name]
    torch.manual_seed(0)
    model = ours(64, tied).double()
    transfer = isoinit.transfer(
        ours(16, tied).double(), model, family.batch(0), optimizer=optimizer
    )
    transfer.plan.apply(model, seed=1)
    other = theirs(64, tied).double()
    mup.set_base_shapes(other, theirs(16, tied), delta=theirs(32, tied), rescale_params=False)
    with torch.no_grad():
        for key, parameter in other.named_parameters():
            parameter.copy_(model.get_parameter(key) / transfer.factors[key].gauge)
        if not tied:  # mup divides by the growth in the forward
            (other[-1] if isinstance(other, nn.Sequential) else other.head).weight.mul_(4)
    given = {"lr": 1e-2 if optimizer == "adamw" else 0.05, "weight_decay": 0.1}
    if optimizer == "adamw":  # mup leaves ε as it is, so that it must not matter
        groups = transfer.groups(model, **given, eps=1e-30, decay_vectors=True)
        steppers = [torch.optim.AdamW(groups), mup.MuAdamW(other.parameters(), **given, eps=1e-30)]
    else:
        groups = transfer.groups(model, **given, decay_vectors=True)
        groups = [{k: v for k, v in group.items() if k != "eps"} for group in groups]
        steppers = [torch.optim.SGD(groups), mup.MuSGD(other.parameters(), **given)]
    losses = [[], []]
    for step in range(100):
        for made, network, stepper in zip(losses, (model, other), steppers, strict=True):
            loss = family.loss(network, step)
            stepper.zero_grad()
            loss.backward()
            stepper.step()
            made.append(loss.item())
    assert losses[0][-1] < losses[0][0]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-7
