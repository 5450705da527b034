"""Measures the signal and the gradients of a JAX model in one forward and one backward pass."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from isoinit._reading.jax import Traced
from isoinit._verifying.health.arrays.layers import (
    in_reals,
    measure_gradient,
    measure_output,
    ranges,
)
from isoinit._verifying.health.behind import Ranges, activation_behind, dead_and_saturated
from isoinit._verifying.health.blame import Bad, first_trouble
from isoinit._verifying.health.records import LayerHealth, Measurement, Trouble
from isoinit.jax.models import Model
from isoinit.jax.passes import Came, Loss, Passes
from isoinit.jax.places import Place, places_of
from isoinit.jax.spelling import is_inexact


class Measuring:
    """A model that is measured, perhaps several times with other parameters.

    Args:
        model: the model.
        read: what was read of it.
        loss: of its output; None for the output's own, or a random gradient.

    Attributes:
        places: its layers and norms.
        trained: the names of its trained parameters, block by block.
    """

    def __init__(self, model: Model, read: Traced, loss: Loss | None) -> None:
        self.model, self.read, self.loss = model, read, loss
        self.places = places_of(read)
        shown = {place.shown for place in self.places if place.shown is not None}
        self._passes = Passes(model, read, loss, shown)
        self._shown = shown
        whole = [name for name, leaf in model.names.items() if is_inexact(leaf)]
        self.trained = frozenset(part for name in whole for part in self._parts(name))

    def output(self, arrays: Sequence[Any]) -> Any:
        """Return arrays as the model returns its own."""
        return self._passes.output(arrays)

    def unseen(self, came: Came) -> list[str]:
        """Return the layers whose output was not shown."""
        seen = {p.weight for p in self.places if p.shown in came.values}
        return list(
            dict.fromkeys(p.weight for p in self.places if p.weight and p.weight not in seen)
        )

    def ruled(self) -> dict[str, list[str]]:
        """Return the layers inside of functions with a derivative of their own, by kind of these."""
        found: dict[str, list[str]] = {}
        for place in self.places:
            kind = self._passes.ruled.get(-1 if place.shown is None else place.shown)
            if kind is not None and place.weight:
                found.setdefault(kind.removesuffix("_call"), []).append(place.weight)
        return found

    def split(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters, or gradients by them, as NumPy arrays, block by block."""
        found: dict[str, Any] = {}
        for name, array in arrays.items():
            if name not in self.read.blocks:
                found[name] = None if array is None else np.asarray(array)
                continue
            axis, parts = self.read.blocks[name]
            sizes = [self.read.graph.shapes[part][axis] for part in parts]
            pieces: Sequence[Any] = [None] * len(parts)
            if array is not None:
                pieces = np.split(np.asarray(array), np.cumsum(sizes)[:-1], axis)
            found |= dict(zip(parts, pieces, strict=True))
        return found

    def joined(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters whose blocks these are, each of its own type."""
        found = {}
        for name, leaf in self.model.names.items():
            axis, names = self.read.blocks.get(name, (0, (name,)))
            pieces = [parts[part] for part in names]
            whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis)
            found[name] = np.asarray(whole, leaf.dtype)
        return found

    def measure(
        self,
        params: Mapping[str, Any],
        rest: Sequence[Any],
        *,
        keep: bool = False,
        among: Collection[str] | None = None,
    ) -> tuple[Measurement, Came]:
        """Run the model forward and backward; return the signal at each layer, and what came.

        Args:
            params: the parameters by name.
            rest: the leaves of the model's state and inputs.
            keep: whether to keep the gradients, also where nothing is zero.
            among: the weights whose layers are measured; None for all.
        """
        came = self._passes.run(params, rest)
        layers = self._layers(came, among)
        order = [name for name in self.model.names if name in came.gradients]
        kept = self.split({name: came.gradients[name] for name in order})  # JAX sorts the keys
        gradients = {name: None if g is None else _rms(g) for name, g in kept.items()}
        loss = None if came.loss is None else float(came.loss)
        sizes = [*(x.rms for x in layers), *(g for g in gradients.values() if g is not None)]
        finite = all(
            bool(np.isfinite(_numbers(out)).all()) for out in came.outputs if is_inexact(out)
        )
        lost = not finite or not all(map(math.isfinite, [*sizes, loss or 0.0]))
        closer = self._every.run(params, rest) if lost or 0 in gradients.values() else None
        largest = {} if closer is None else jax.device_get(closer.largest)
        zeros = frozenset(value for value, size in largest.items() if size == 0)
        kept = {name: g for name, g in kept.items() if g is not None} if keep or zeros else {}
        measured = Measurement(
            layers,
            gradients,
            loss,
            None,
            any(g is not None for g in gradients.values()),
            len(came.outputs),
            frozenset(self.read.graph.outputs),
            self.read.graph,
            self._trouble(closer) if closer is not None and lost else None,
            zeros,
            kept,
        )
        return measured, came

    def _parts(self, name: str) -> tuple[str, ...]:
        return tuple(self.read.blocks[name][1]) if name in self.read.blocks else (name,)

    def _layers(self, came: Came, among: Collection[str] | None) -> list[LayerHealth]:
        layers = []
        kept: dict[int, Ranges] = {}
        for place in self.places:
            if among is not None and place.weight not in among:
                continue
            if place.shown not in came.values:
                continue
            output = place.laid(came.values[place.shown])
            if not np.iscomplexobj(output):
                kept[place.value] = ranges(output, place.axis)
            if place.weight:
                layers.append(_layer(place, output, came.back.get(place.shown)))
        for layer in layers:
            behind = activation_behind(self.read.graph, layer.value)
            if behind is not None and behind[0] in kept:
                layer.dead, layer.saturated = dead_and_saturated(kept[behind[0]], behind[1])
        return layers

    @cached_property
    def _every(self) -> Passes:
        return Passes(self.model, self.read, self.loss, self._shown, every=True)

    def _trouble(self, came: Came) -> Trouble | None:
        """Return what first was not finite; None if all that matters is finite."""
        largest = jax.device_get(came.largest)
        flags = {value: bool(flag) for value, flag in came.back.items() if flag is not None}
        leaves = [
            _numbers(x) for x in jax.tree_util.tree_leaves(self.model.inputs) if is_inexact(x)
        ]
        given = "NaN" * any(bool(np.isnan(x).any()) for x in leaves)
        given = given or "infinity" * any(bool(np.isinf(x).any()) for x in leaves)
        bad = Bad(
            {value for value, size in largest.items() if math.isnan(size)},
            {value for value, size in largest.items() if math.isinf(size)},
            {},
            {value for value, finite in flags.items() if not finite},
            set(flags),
            given,
        )
        return first_trouble(self.read.graph, bad)


def _layer(place: Place, output: Any, gradient: Any) -> LayerHealth:
    layer = LayerHealth(place.weight.removesuffix(".weight") or place.weight, place.value)
    alike = measure_output(layer, output, place.axis)
    if gradient is not None:
        measure_gradient(layer, place.laid(gradient), place.axis, alike)
    return layer


def _rms(gradient: Any) -> float:
    return math.sqrt(float(np.square(in_reals(gradient)).mean())) if gradient.size else 0.0


def _numbers(array: Any) -> Any:
    """Return a floating-point array of JAX as one of a type that NumPy itself knows."""
    found = np.asarray(array)
    return found.astype(np.float32) if found.dtype.itemsize < 4 else found
