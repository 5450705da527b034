"""A JAX model after a few small steps of training: what of it stays zero or alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from isoinit._drawing.streams import Stream
from isoinit._reading.roles import Role
from isoinit._verifying.health.arrays.weights import agreeing, step_of
from isoinit._verifying.health.doubts import Ahead, lasting, with_equal_units
from isoinit._verifying.health.records import Measurement, WeightHealth
from isoinit._verifying.targets import own_loss
from isoinit.jax.measured import Measuring
from isoinit.jax.passes import with_other_keys
from isoinit.jax.spelling import is_inexact

Values = Mapping[str, Any]


@dataclass
class _Trials:
    """A JAX model to try steps on: see `doubts.Trials`. Its own arrays are never changed.

    Attributes:
        start: the parameters at the start, block by block.
        now: the same after some steps.
    """

    measuring: Measuring
    start: Values
    rest: Sequence[Any]
    optimizer: str
    roles: Mapping[str, Role]
    twins: Mapping[str, float]
    now: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    @contextmanager
    def tried(self) -> Iterator[None]:
        self.now, self.number = dict(self.start), 0
        yield

    def step(self, gradients: Mapping[str, Any], number: int) -> None:
        for name, step in step_of(gradients, self.now, self.optimizer).items():
            self.now[name] = (self.now[name] - step).astype(self.now[name].dtype)
        self.number = number

    def measure(self, among: Collection[str]) -> Measurement:
        rest = with_other_keys(self.rest, self.number) if self.number else self.rest
        params = self.measuring.joined(self.now)
        return self.measuring.measure(params, rest, keep=True, among=among)[0]

    def alike(self, gradients: Mapping[str, Any]) -> dict[str, float]:
        """Return the share of units that have been the same and get the same gradient."""
        found = dict(self.twins)
        for name in self.twins.keys() & gradients.keys():
            layout = self.roles[name].layout
            found[name] = agreeing(self.start[name], gradients[name], layout)
        return {name: share for name, share in found.items() if share}


def look_ahead(
    measuring: Measuring,
    values: Values,
    rest: Sequence[Any],
    optimizer: str,
    start: Measurement,
    weights: Mapping[str, WeightHealth],
    roles: Mapping[str, Role],
) -> Ahead:
    """Return what is zero or alike at the start, and still so after a few small steps.

    Args:
        measuring: the model.
        values: its parameters, block by block.
        rest: the leaves of its state and inputs.
        optimizer: what makes the steps: "adam" or "sgd".
        start: what was measured at the start.
        weights: what the parameters look like.
        roles: what they are for.
    """
    twins = with_equal_units(weights, roles)
    return lasting(start, _Trials(measuring, values, rest, optimizer, roles, twins))


def has_influence(
    measuring: Measuring, values: Values, rest: Sequence[Any], names: Collection[str]
) -> bool:
    """Return whether the loss, or any output where there is none, changes with some parameters.

    Args:
        measuring: the model.
        values: its parameters, block by block.
        rest: the leaves of its state and inputs.
        names: of the parameters that are changed, all at once.
    """
    model = measuring.model

    @jax.jit
    def seen(params: Mapping[str, Any], rest: list[Any]) -> Any:
        output = model.called(params, rest)
        loss = own_loss(output) if measuring.loss is None else measuring.loss(output)
        return jax.tree_util.tree_leaves(output if loss is None else loss)

    changed = dict(values)
    for name in names:
        array = values[name]
        if is_inexact(array):
            noise = np.empty(array.size, np.float32)
            Stream(0, "check", f"influence {name}").normal(noise)
            size = np.sqrt(np.square(np.abs(array.astype(np.float64))).mean()) + 1
            changed[name] = (array + size * noise.reshape(array.shape)).astype(array.dtype)
    before, after = (seen(measuring.joined(one), list(rest)) for one in (values, changed))
    pairs = zip(before, after, strict=True)
    return any(not np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
