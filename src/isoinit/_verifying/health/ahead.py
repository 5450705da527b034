"""What the first steps of training make of what is zero or alike at the start.

Zero gates, zero last layers and layers behind a branch that starts at zero are recipes that train: a
gradient reaches them once a step has moved the factor that is zero. So where anything is zero or
alike, a few small steps are taken, and what is still so is a fault. The model is as before at the
end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit._reading.torch.rng import generators_kept, seed_generators
from isoinit._verifying.health.layers import LayerHealth
from isoinit._verifying.health.measure import Measurement, measure
from isoinit._verifying.health.units import ROUNDING, agreeing
from isoinit._verifying.health.weights import EPSILON, WeightHealth
from isoinit._verifying.losses import Loss
from isoinit._verifying.sharded import whole

ROUNDS = 4  # steps at most: zeros in zeros open one at a time
STEP = 1e-3  # Adam's usual first step; of plain gradients, by the size of all weights


@dataclass(frozen=True)
class Ahead:
    """What is zero or alike, and stays so when training begins.

    Attributes:
        dead: the trained parameters that no gradient reaches.
        cut: those of them behind which all is zero on every way to the output.
        alike: by weight, the share of its units that stay equal to another one.
        silent: the layers whose output stays zero.
        blind: those whose output stays the same for all examples.
        stuck: those whose output gets no gradient.
        twins: by layer, the share of its units that give the same output and get the same gradient.
    """

    dead: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    alike: Mapping[str, float] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    blind: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    twins: Mapping[str, float] = field(default_factory=dict)

    def left(self, now: Ahead) -> Ahead:
        """What of it is still so."""
        return Ahead(
            dead=self.dead & now.dead,
            alike={name: share for name, share in now.alike.items() if name in self.alike},
            silent=self.silent & now.silent,
            blind=self.blind & now.blind,
            stuck=self.stuck & now.stuck,
            twins={name: share for name, share in now.twins.items() if name in self.twins},
        )

    def layers(self) -> set[str]:
        """The names of the layers that are in doubt."""
        return {*self.silent, *self.blind, *self.stuck, *self.twins}

    def names(self) -> tuple[Collection[str], ...]:
        """What is in doubt, without how much of it."""
        return (
            self.dead,
            self.alike.keys(),
            self.silent,
            self.blind,
            self.stuck,
            self.twins.keys(),
        )

    def __bool__(self) -> bool:
        return any(self.names())


class _Units:
    """The weights that have equal units at the start."""

    def __init__(
        self, values: Mapping[str, torch.Tensor], roles: Mapping[str, Role], twins: dict[str, float]
    ) -> None:
        self.values, self.roles, self.twins = values, roles, twins

    def alike(self, gradients: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the share of units that have been the same and get the same gradient.

        Units that have been parted show it by their gradient: the values need no second look.
        """
        found = dict(self.twins)
        for name in self.twins.keys() & gradients.keys():
            values, gradient = whole(self.values[name]), whole(gradients[name])
            found[name] = agreeing(values, _dense(gradient), self.roles[name].layout)
        return {name: share for name, share in found.items() if share}


def look_ahead(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    batch: Any,
    loss: Loss | None,
    optimizer: str,
    start: Measurement,
    weights: Mapping[str, WeightHealth],
    roles: Mapping[str, Role],
) -> Ahead:
    """Return what is zero or alike at the start, and still so after a few small steps.

    Takes no step where nothing is; at most four, and no more once one changes nothing.

    Args:
        model: as before at the end.
        parameters: its parameters, by name.
        batch: an example.
        loss: as for `measure`.
        optimizer: what makes the steps: "adam" or "sgd".
        start: what was measured at the start.
        weights: what the parameters look like.
        roles: what they are for.
    """
    if start.trouble is not None or not start.began:
        return Ahead()
    twins = _with_equal_units(weights, roles)
    originals = {name: parameters[name].detach().clone() for name in twins}
    units = _Units(originals, roles, twins)
    doubts, now = _doubts(start, units), start
    if _is_shared_out():  # ranks that saw other examples must take as many steps
        doubts = Ahead(dead=doubts.dead, alike=doubts.alike)
    if doubts:
        with restored(parameters), generators_kept():
            for number in range(ROUNDS + 1):
                if number:
                    _step(parameters, now.kept, optimizer)
                    seed_generators(number)  # a branch that was dropped by chance comes back
                elif start.kept:
                    continue  # there is no need to look at the start again
                among = {n for x in doubts.layers() for n in (x, f"{x}.weight")}
                among |= doubts.dead | doubts.alike.keys()
                now = measure(model, parameters, batch, loss, keep=True, among=among)
                if now.trouble is not None:
                    break
                before, doubts = doubts, doubts.left(_doubts(now, units))
                if not doubts or (number > 1 and doubts.names() == before.names()):
                    break
    on = _leading_on(now.graph, _closed(now)) if doubts.dead else set()
    uses = {name: now.graph.uses_of(name) for name in doubts.dead}
    cut = [n for n, found in uses.items() if all(on.isdisjoint(op.outputs) for op, _ in found)]
    return replace(doubts, cut=frozenset(cut))


def _with_equal_units(
    weights: Mapping[str, WeightHealth], roles: Mapping[str, Role]
) -> dict[str, float]:
    """The share of units that another one equals, of each weight that has any."""
    return {
        name: max(weight.twins, float(weight.identical))
        for name, weight in weights.items()
        if (weight.twins or weight.identical)
        and weight.gradient is not None
        and roles[name].must_differ
    }


def _doubts(now: Measurement, units: _Units) -> Ahead:
    uses: dict[str, list[LayerHealth]] = {}
    for layer in now.layers:
        uses.setdefault(layer.name, []).append(layer)

    def those(is_so: Any) -> frozenset[str]:
        return frozenset(name for name, layers in uses.items() if all(map(is_so, layers)))

    return Ahead(
        dead=frozenset(name for name, size in now.gradients.items() if size == 0),
        alike=units.alike(now.kept),
        silent=those(lambda x: x.rms == 0),
        blind=those(lambda x: x.spread == 0),
        stuck=those(lambda x: x.gradient == 0),
        twins={x.name: x.twins for x in now.layers if x.twins and x.rms > 0},
    )


def _is_shared_out() -> bool:
    """Whether other processes may take part in each pass."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@contextmanager
def restored(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Inside, parameters may be changed in place; at the end each holds what it held."""
    trained = [p for p in parameters.values() if p.requires_grad]
    with torch.no_grad():
        before = [p.detach().clone() for p in trained]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(trained, before, strict=True):
                parameter.copy_(values)


def _step(
    parameters: Mapping[str, nn.Parameter], gradients: Mapping[str, torch.Tensor], optimizer: str
) -> None:
    """Take the first step of an optimizer, a small one."""
    with torch.no_grad():
        rate = STEP
        if optimizer == "sgd":
            moved = [parameters[name] for name in gradients]
            slopes = sum(_square(g) for g in gradients.values())
            sizes = sum(map(_square, moved)) or sum(p.numel() for p in moved)  # of unit size
            rate *= (sizes / slopes) ** 0.5 if slopes else 0.0
        for name, gradient in gradients.items():
            step = _dense(gradient)
            size = _square(step) ** 0.5 / max(step.numel(), 1) ** 0.5
            step = torch.where(step.abs() < ROUNDING * size, 0, step)  # signs of rounding errors
            if optimizer == "adam":
                step = step / (step.abs() + EPSILON)
            parameters[name].sub_(step.to(parameters[name].dtype), alpha=rate)


def _square(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(whole(_dense(tensor.detach()))).item() ** 2)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor


def _leading_on(graph: Graph, closed: Collection[int]) -> set[int]:
    """Return the values from which a way to an output passes none of those that are closed."""
    found: set[int] = set()
    waiting = [*graph.outputs]
    while waiting:
        value = waiting.pop()
        if value not in closed and value not in found:
            found.add(value)
            maker = graph.producers.get(value)
            waiting.extend(maker.inputs if maker else ())
    return found


def _closed(now: Measurement) -> set[int]:
    """The values that are zero since a factor is.

    Not those behind a function that is flat there: units that rest for all of a batch, as those of a
    ReLU may, are told as dead units. Nor rows for padding, which the batch alone looks up.
    """
    found: set[int] = set()
    for op in now.graph.ops:
        for value in now.zeros.intersection(op.outputs):
            given = now.zeros.intersection(op.inputs)
            flat = op.kind == "other" and not op.uses and len(op.inputs) == 1
            flat = flat or op.kind == "lookup"  # of rows that stand for nothing
            if given & found or not (given or flat):
                found.add(value)
    return found
