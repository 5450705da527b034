"""Ten ways to break an initialization, each of which happens: name -> what breaks a model in place.

A fault is given the model and the facts, and answers with the names of the parameters that it
broke; none where the model has no place for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import isoinit

# What weights are drawn for if a recipe is copied from a network of the other kind.
SATURATING = ("tanh", "sigmoid", "selu", "softsign", "hardtanh")


@dataclass
class Place:
    """Where a model is broken.

    Attributes:
        target: the hidden weight in the middle, of those that feed an activation if there are any:
            no embedding, no output layer, no end of a residual branch (a zero there is a recipe).
        fed: all weights that feed an activation.
        plan: what each parameter is for.
    """

    target: str
    fed: list[str]
    plan: Any


def find(model: nn.Module, batch: Any) -> Place:
    """The place, by the same rule in every model."""
    plan = isoinit.plan(model, batch)
    hidden = [
        e.name
        for e in plan
        if (e.role.startswith("weight") or "input weight" in e.role)
        and "output" not in e.role
        and "ending" not in e.role
        and len(e.shape) > 1
        and not e.role.startswith("weight norm")
    ]
    fed = [name for name in hidden if " before " in plan[name].role]
    places = fed or hidden
    return Place(places[len(places) // 2], fed, plan)


def _weight(model: nn.Module, name: str) -> torch.Tensor:
    return dict(model.named_parameters())[name].data


def zeros(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """A weight that was to be filled later."""
    _weight(model, place.target).zero_()
    return [place.target]


def constant(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """A weight filled with its own standard deviation in place of noise of that size."""
    weight = _weight(model, place.target)
    weight.fill_(weight.std().item())
    return [place.target]


def smaller(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """A weight ten times too small."""
    _weight(model, place.target).mul_(0.1)
    return [place.target]


def larger(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """A weight ten times too large."""
    _weight(model, place.target).mul_(10)
    return [place.target]


def wrong_gain(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """Every weight before an activation drawn for another one: tanh for ReLU, ReLU for tanh."""
    for name in place.fed:
        other = (
            "relu" if any(f"before {a}" in place.plan[name].role for a in SATURATING) else "tanh"
        )
        std = nn.init.calculate_gain(other) / math.sqrt(place.plan[name].fan_in)
        _weight(model, name).normal_(0, std)
    return place.fed


def dead(model: nn.Module, place: Place, batch: Any) -> list[str]:
    """A layer that no example activates: its bias is far below zero.

    Ten root mean squares of what comes before the activation, and ten more. Where no layer before
    an activation has a bias, the norm layer in the middle multiplies by zero.
    """
    parameters = dict(model.named_parameters())
    pairs = [(n, n.removesuffix("weight") + "bias") for n in place.fed]
    pairs = [(n, bias) for n, bias in pairs if n != bias and bias in parameters]
    if pairs:
        name, bias = pairs[len(pairs) // 2]
        layers = isoinit.check(model, batch).layers
        size = next(x.rms for x in layers if x.name == name.removesuffix(".weight"))
        parameters[bias].data.fill_(-10 * size - 10)
        return [name, bias]
    norms = [e.name for e in place.plan if e.role.startswith("norm scale")]
    norms = norms or [e.name for e in place.plan if "scale" in e.role]
    if not norms:
        return []
    parameters[norms[len(norms) // 2]].data.zero_()
    return [norms[len(norms) // 2]]


def duplicated(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """A layer made wider by copying its units: the second half computes what the first does."""
    layout, parameters = place.plan[place.target].layout, dict(model.named_parameters())
    bias = place.target.removesuffix("weight") + "bias"
    names = [place.target, bias] if bias in parameters and bias != place.target else [place.target]
    grid = parameters[place.target].data.reshape(layout.grid)
    axis = layout.out[0]
    half = layout.grid[axis] // 2
    if not half:
        return []
    grid.narrow(axis, half, half).copy_(grid.narrow(axis, 0, half).clone())
    if len(names) > 1 and parameters[bias].numel() == layout.grid[axis]:
        parameters[bias].data[half : 2 * half] = parameters[bias].data[:half].clone()
    return [place.target]


def nan(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """One value that is no number."""
    _weight(model, place.target).flatten()[3] = math.nan
    return [place.target]


def forgotten(model: nn.Module, place: Place, _batch: Any) -> list[str]:
    """A weight that nothing has filled: it holds what its memory held, numbers of any size."""
    weight = _weight(model, place.target)
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, weight.shape, generator=generator, dtype=torch.int64)
    values = bits.to(torch.int32).view(torch.float32)
    weight.copy_(torch.where(values.isfinite(), values, 0.0))
    return [place.target]


def detached(model: nn.Module, place: Place, batch: Any) -> list[str]:
    """A layer whose output is cut off from the gradient; none where it is never called as a module."""
    module = model.get_submodule(place.target.rpartition(".")[0])
    calls: list[None] = []
    counting = module.register_forward_hook(lambda *_: calls.append(None))
    isoinit.check(model, batch)
    counting.remove()
    if not calls:
        return []

    def cut(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(o.detach() if isinstance(o, torch.Tensor) else o for o in output)
        return output.detach()

    module.register_forward_hook(cut)
    return [place.target]


FAULTS: dict[str, Callable[[nn.Module, Place, Any], list[str]]] = {
    "zeros": zeros,
    "constant": constant,
    "scale ×0.1": smaller,
    "scale ×10": larger,
    "wrong gain": wrong_gain,
    "dead layer": dead,
    "duplicated units": duplicated,
    "NaN": nan,
    "forgotten": forgotten,
    "detached": detached,
}
