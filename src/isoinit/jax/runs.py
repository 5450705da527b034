"""A JAX model and its example, run with a plan's own values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from isoinit._planning.coarse import coarse
from isoinit._planning.propagation import Measured, Walk
from isoinit._planning.propagation.moments import units_of
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Given, Graph, first_line
from isoinit._reading.jax import Evaluation, Traced, moments_of
from isoinit._writing.entry import Entry
from isoinit._writing.slice import fill_slice
from isoinit.jax.models import Model
from isoinit.jax.spelling import named_leaves

SEED = 0
MOST = 1 << 31  # bytes of parameters that a plan makes to measure with


class _EnoughError(Exception):
    """Ends an evaluation that has shown what was asked for."""


@dataclass(frozen=True)
class JaxRuns:
    """A JAX model and its example: see `isoinit._planning.measured.Runs`.

    Attributes:
        model: the model.
        read: what was read of it.
    """

    model: Model
    read: Traced

    def moments(
        self,
        graph: Graph,
        asked: Collection[int],
        entries: Mapping[str, Entry],
        walk: Walk[Any] | None,
        chosen: dict[str, Choice],
    ) -> Measured:
        """Return the moments of some values: the model is evaluated anew for each that is asked for.

        It takes memory for the parameters. It does not raise: what went wrong is told in `why`.
        """
        if why := self._obstacle(entries):
            return Measured(why=why)
        filled = dict(entries)
        found: dict[int, Given] = {}
        notes: tuple[str, ...] = ()
        waiting: Collection[int] = asked
        try:
            if walk is None:
                self._look(graph, waiting, filled, found)
            else:
                given: Given | None = None
                while True:
                    value = walk.send(given).value
                    for name, choice in chosen.items():
                        filled[name] = replace(filled[name], initializer=choice.initializer)
                    self._look(graph, [value], filled, found)
                    given = found.get(value)
        except StopIteration:
            pass
        except Exception as error:  # the plan stands without it, and says so
            return Measured(found, f"{type(error).__name__}: {first_line(error)}", notes)
        left = [value for value in asked if value not in found]
        if left:
            self._look(graph, left, filled, found)
        return Measured(found, "", notes)

    def again(self, entries: Mapping[str, Entry]) -> Graph | None:
        """Return nothing: a jaxpr does not branch on values."""
        return None

    def _obstacle(self, entries: Mapping[str, Entry]) -> str:
        """Return why the model cannot be evaluated here; "" where it can."""
        for leaf in self._leaves:
            if not hasattr(leaf, "__array__"):
                return "the example, or a part of the model's state, holds no values"
        kept = [name for name, entry in entries.items() if entry.initializer is None]
        for name in kept:
            if not hasattr(self._own(self.read.parent(name)), "__array__"):
                return f"{name!r}, which the plan leaves as it was, holds no values"
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in self.model.names.values())
        return "" if size < MOST else "its parameters take more than 2 GiB"

    @cached_property
    def _leaves(self) -> list[Any]:
        import jax

        return list(jax.tree_util.tree_leaves((self.model.state, self.model.inputs)))

    def _own(self, name: str) -> Any:
        return named_leaves(self.model.params)[name]

    def _look(
        self,
        graph: Graph,
        asked: Collection[int],
        entries: Mapping[str, Entry],
        found: dict[int, Given],
    ) -> None:
        """Measure some values in one evaluation, which ends as soon as all were seen."""
        units = {value: units_of(graph, value) for value in asked}
        behind = {v: _shown_by(graph, self.read, v) for v in asked}
        left = set(behind.values())
        seen_as = {shown: value for value, shown in behind.items()}

        def seen(number: int, array: Any) -> Any:
            value = seen_as.get(number)
            if value is not None:
                axis = units[value]
                if number != value:  # the same with its axes in another order
                    axis = graph.producers[number].detail.axes.index((axis,))  # type: ignore[union-attr]
                given = moments_of(np.asarray(array), axis)
                if given is not None:
                    found[value] = coarse(given)
                left.discard(number)
            if not left:
                raise _EnoughError
            return array

        arrays = [*self._values(entries), *self._leaves]
        with suppress(_EnoughError):
            Evaluation(self.read.visits, graph.sizes, seen).closed(self.read.closed, arrays)

    def _values(self, entries: Mapping[str, Entry]) -> list[Any]:
        """Return the parameters with what entries give them."""
        found = []
        for name, leaf in self.model.names.items():
            axis, parts = self.read.blocks.get(name, (0, (name,)))
            made = [self._value(entries[part], leaf, name) for part in parts]
            found.append(made[0] if len(made) == 1 else np.concatenate(made, axis))
        return found

    def _value(self, entry: Entry, leaf: Any, name: str) -> Any:
        if entry.initializer is None:
            return np.asarray(self._own(name))
        out = np.empty(entry.shape, leaf.dtype)
        return fill_slice(
            out, entry.initializer, entry.key, entry.shape, (), SEED, layout=entry.layout
        )


def _shown_by(graph: Graph, read: Traced, value: int) -> int:
    """Return the value that an evaluation shows in place of one: itself, or that with axes turned."""
    if value in read.shown:
        return value
    turned = [op for op in graph.consumers.get(value, []) if op.name == "permute"]
    return next((op.outputs[0] for op in turned if op.outputs[0] in read.shown), value)
