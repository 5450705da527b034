"""Tries what comes of assigning a weight, and has the recorder meet the weight and not its parts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit._reading.graph import Array, Chart, Graph
from isoinit._reading.torch.names import named_modules
from isoinit._reading.torch.numbers import doubled
from isoinit._reading.torch.parametrizations import Computed, computed_weights
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.replica import Replica
from isoinit._system.private import DisableTorchFunction
from isoinit.initializers import Normal
from isoinit.initializers.scale import fans

ALIKE = 1e-2  # relative difference that rounding and an unfinished power iteration may leave
SAME = 1e-3  # that of one weight that is computed twice


def read_charts(model: nn.Module) -> tuple[list[tuple[Computed, Chart]], dict[str, str]]:
    """Return the weights of a model that can be assigned; and why others cannot, by parameter."""
    charts: list[tuple[Computed, Chart]] = []
    refused: dict[str, str] = {}
    for computed in computed_weights(named_modules(model)):
        if any(p.is_complex() for p in computed.parameters.values()):
            why = f"{computed.kinds} computes with complex numbers, which are not assigned"
            refused.update(dict.fromkeys(computed.parameters, why))
            continue
        try:
            charts.append((computed, _chart(computed)))
        except Exception as failure:  # whatever the user's code raises: the plan tells it
            why = f"right_inverse of {computed.kinds} was not used: {failure}"
            refused.update(dict.fromkeys(computed.parameters, why))
    return charts, refused


def mark_charts(charts: list[tuple[Computed, Chart]], recorder: Recorder) -> None:
    """Have the recorder meet each weight as its carrier, each time that it is computed."""
    for computed, chart in charts:
        mark = functools.partial(_mark, recorder, computed, chart)
        if computed.hook is None:
            computed.module.register_forward_hook(lambda _m, _a, made, mark=mark: mark(made))
        else:
            computed.module.register_forward_pre_hook(lambda _m, _a, mark=mark: mark(None))


def weights_made(
    model: nn.Module, graph: Graph, values: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the weights that modules compute, by the parameter that stands for each in the graph.

    Args:
        model: read as `graph`; it is not changed.
        graph: knows which parameters those are.
        values: gives the whole of a parameter, which may be sharded.
    """
    carriers = {chart.parameters: chart.carrier for chart in graph.charts.values()}
    found = {}
    for computed in computed_weights(named_modules(model)):
        if (carrier := carriers.get(tuple(computed.originals.values()))) is not None:
            held = {name: values(parameter) for name, parameter in computed.parameters.items()}
            found[carrier] = Replica(computed, held).made()
    return found


def _mark(
    recorder: Recorder, computed: Computed, chart: Chart, made: torch.Tensor | None
) -> torch.Tensor | None:
    hook = computed.hook
    weight = made if hook is None else getattr(computed.module, hook.name)
    if not isinstance(weight, torch.Tensor):
        return None
    with DisableTorchFunction():  # this is not of the model's doing
        whole = weight.contiguous()  # what its axes are is read from its strides
    recorder.mark_chart(whole, chart)
    if hook is None:
        return whole
    setattr(computed.module, hook.name, whole)
    return None


def _chart(computed: Computed) -> Chart:
    """Try what comes of assigning a weight.

    Raises:
        ValueError: naming what came out of it.
    """
    replica = Replica(computed, rough=True)
    shape, dtype = replica.form()
    numbers = np.empty(math.prod(shape), np.float32)
    size = min(0.1, 0.5 / math.sqrt(max(math.prod(shape[1:]), 1)))  # some charts have bounds
    # From a stream of ours: a mask may have been made of what torch's generator draws first.
    Normal(std=size).fill(numbers, Stream(0, "trial"), fans.vector(shape))
    drawn = torch.from_numpy(numbers).to(dtype).reshape(shape)
    try:
        direct, free = _tried(replica, computed, drawn)
    except ValueError:
        if sum(extent > 1 for extent in shape) > 1:
            raise
        direct, free = _tried(replica, computed, 1 + drawn)  # a scale may have to be positive
    names = tuple(computed.originals.values())
    alike = [name for name in names if tuple(computed.parameters[name].shape) == shape]

    def assign(weight: Array) -> Array:
        given = torch.from_numpy(np.ascontiguousarray(weight)).to(dtype).reshape(shape)
        try:
            return replica.assign(given).double().numpy()
        except Exception as failure:  # whatever the user's code raises: the plan tells it
            raise ValueError(str(failure)) from failure

    single = bool(getattr(computed.module, "is_tensor", True))
    return Chart(names, (alike or list(names))[0], single, direct, free, assign)


def _tried(replica: Replica, computed: Computed, drawn: torch.Tensor) -> tuple[bool, bool]:
    """Assign a weight and its double: whether the parameter may hold it, and its size is free.

    Raises:
        ValueError: naming what came out of it.
    """
    once, twice = (_sound(replica.assign(weight), weight) for weight in (drawn, 2 * drawn))
    if replica.buffers.keys() != computed.buffers.keys():
        raise ValueError("it makes buffers that were not there")
    free = _alike(twice, 2 * once)
    if not free and not math.isclose(_rms(twice), _rms(once), rel_tol=5 * ALIKE):
        raise ValueError("a weight twice as large comes out neither twice as large nor as large")
    shapes = [(name, tuple(parameter.shape)) for name, parameter in computed.parameters.items()]
    if len(shapes) != 1 or shapes[0][1] != tuple(drawn.shape):
        return False, free
    return _alike(replica.hold({shapes[0][0]: 2 * drawn}), twice, SAME), free


def _sound(weight: torch.Tensor, assigned: torch.Tensor) -> torch.Tensor:
    """The weight that came out, if it can take the place of the assigned one.

    Raises:
        ValueError: if it is not finite, or its elements have another mean.
    """
    values = doubled(weight)
    if not bool(torch.isfinite(values).all()):
        raise ValueError("it makes NaN or infinity")
    if not _rms(values):
        raise ValueError("it makes zeros")
    means = [doubled(tensor).mean().item() / _rms(tensor) for tensor in (values, assigned)]
    if abs(means[0] - means[1]) > 0.1 + 5 / math.sqrt(values.numel()):
        raise ValueError("it makes a weight with a mean of one without")
    return weight


def _rms(weight: torch.Tensor) -> float:
    return float(doubled(weight).square().mean().sqrt())


def _alike(weight: torch.Tensor, other: torch.Tensor, rtol: float = ALIKE) -> bool:
    return _rms(doubled(weight) - doubled(other)) <= rtol * _rms(other)
