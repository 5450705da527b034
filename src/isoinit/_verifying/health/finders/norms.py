"""Norm layers whose epsilon is larger than what they are given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from isoinit._reading.graph import Op, Use
from isoinit._reading.pointwise import Feed, feeding
from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.finders.scale import WIDE
from isoinit._verifying.health.finders.trend import WARNING
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.remedy import grow

NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
RESTS = 0.1  # how far a scale that is computed of its parameter may be from doing nothing


def below_epsilon(facts: Facts) -> Iterator[Finding]:
    """Layers behind a norm layer whose output is much smaller than usual.

    No other finding tells it: what is made of biases alone is finite and of usual size. It is no
    error: models of public libraries start so and train (DeiT III, BLIP: docs/libraries.md).
    """
    found: dict[str, float] = {}
    starved: list[str] = []
    for layer in facts.measured.layers:
        share = _share(facts, layer)
        if share is not None and share < 1 / WARNING:
            found[layer.name] = min(share, found.get(layer.name, share))
            starved += _before(facts, layer)
    if not found:
        return
    least = min(found.values())
    yield Finding(
        "below epsilon",
        "warning",
        tuple(found),
        least,
        1 / WARNING,
        "a norm layer divides by sqrt(variance + eps) (Ioffe & Szegedy 2015, algorithm 1), which "
        "does not restore the size of a signal that is far below eps",
        grow(facts, starved, WIDE)
        or "standardize the input of the norm layer, or make its eps smaller",
        f"{listed(list(found))}: the norm layer in front gives {least:.2g} of its usual size, because "
        "its input is smaller than its eps",
    )


def _share(facts: Facts, layer: LayerHealth) -> float | None:
    """Return the size of what a norm layer gives by its usual size; None behind anything else.

    It is measured by a layer that reads it: the size of its output, without its bias, by that which
    its weights would give of a norm layer's usual output.
    """
    graph = facts.measured.graph
    op = graph.producers[layer.value]
    weights = [use.parameter for use in op.uses if use.slot == "weight" and use.made is None]
    if op.kind != "map" or len(weights) != 1 or not op.inputs:
        return None
    feed = feeding(graph, op.inputs[0])
    if [source.kind for source in feed.sources] != ["norm"]:
        return None
    role, weight = facts.roles[weights[0]], facts.weights[weights[0]]
    usual = weight.std * math.sqrt(role.layout.fan_in) * _usual(facts, feed)
    known = 0 < usual < math.inf and math.isfinite(layer.rms)
    if feed.sources[0].value in facts.measured.zeros or not known:
        return None
    biases = sum(facts.weights[use.parameter].rms ** 2 for use in op.uses if use.slot == "bias")
    differs = 0.0 if math.isnan(layer.spread) else layer.spread  # free of any bias
    return max(differs, math.sqrt(max(layer.rms**2 - biases, 0.0))) / usual


def _usual(facts: Facts, feed: Feed) -> float:
    """Return the root mean square of a layer's input if the norm layer before gives its usual size.

    NaN where that is not known: behind a function of more than single elements, or a scale that is
    computed of its parameter.
    """
    norm = feed.sources[0].op
    if norm is None or feed.function is None or (norm.kind == "norm" and not norm.detail.live):
        return math.nan
    graph = facts.measured.graph
    size, function = math.sqrt(graph.second_of_norm(norm)), feed.function
    second = float(np.mean(np.square(function(size * NORMAL))))
    scales = [_scale(facts, step) for step in (norm, *graph.scaling(norm), *feed.steps)]
    return math.sqrt(second) * math.prod(scales)


def _scale(facts: Facts, op: Op) -> float:
    """Return the size of what a norm layer's scale multiplies by; NaN where that is not known."""
    return math.prod(_size(facts, use) for use in op.uses if use.slot == "scale")


def _size(facts: Facts, use: Use) -> float:
    weight = facts.weights[use.parameter]
    if use.neutral == 1:
        return weight.rms
    rests = use.neutral is not None and abs(weight.mean - use.neutral) + weight.std < RESTS
    return 1.0 if rests else math.nan


def _before(facts: Facts, layer: LayerHealth) -> list[str]:
    """Return the weights of the layers that the norm layer before a layer reads."""
    graph = facts.measured.graph
    norm = feeding(graph, graph.producers[layer.value].inputs[0]).sources[0].op
    feed = None if norm is None else feeding(graph, graph.norms[norm.index])
    makers = [source.op for source in feed.sources] if feed else []
    return [use.parameter for op in makers if op for use in op.uses if "weight" in use.slot]
