"""Outputs that are compared with numbers, as far as that shows in the model alone.

Which loss follows is not known when a model is planned. An output of the shape of an input is a
picture, a sound or a noise that is compared with one; and a network of one to three numbers for each
example is a function of coordinates. One number alone is regressed, or is a logit that starts at even
odds either way; it may be a sum over parts, and its derivative may be the output. What chooses among
several classes has the form of none of these.
"""

from __future__ import annotations

from isoinit._reading.few_inputs import FEW
from isoinit._reading.graph import LAYERS, Graph, Op
from isoinit._reading.pointwise import Following

LOSSES = frozenset("mse_loss l1_loss smooth_l1_loss huber_loss".split())


def is_estimate(graph: Graph, op: Op, follows: Following) -> bool:
    """Return whether a layer is the last of several, and gives one number or the form of an input.

    Args:
        graph: what the model does.
        op: the layer.
        follows: what follows it.
    """
    if follows.activation is not None or follows.norm or not _is_behind_layer(graph, op):
        return False
    if follows.end is not None:
        return follows.end.name in LOSSES or (_is_one_number(op) and _is_energy(graph, op))
    if _is_one_number(op):
        return True
    shapes = _signals(graph)
    made = op.outputs[0]
    outputs = {graph.sizes[v] for v in graph.outputs if _made_by(graph, v) == made}
    return not shapes.isdisjoint(outputs) or _is_of_coordinates(graph, shapes, outputs)


def _is_one_number(op: Op) -> bool:
    """Return whether a layer has one unit, and is one map."""
    return all(use.layout.is_one_unit for use in op.uses if use.slot == "weight")


def _is_energy(graph: Graph, op: Op) -> bool:
    """Return whether what a layer gives is added up, if at all, and then is the output or derived.

    So are the energy of atoms, and the Hamiltonian whose gradient is the output.
    """
    value = op.outputs[0]
    while value not in graph.outputs:
        readers = graph.consumers.get(value, [])
        if any(reader.name == "grad" for reader in readers):
            return True
        if len(readers) != 1 or len(readers[0].inputs) != 1 or readers[0].uses:
            return False
        (reader,) = readers
        if not (reader.kind == "move" or reader.is_neutral or reader.name in ("sum", "mean")):
            return False
        value = reader.outputs[0]
    return True


def _made_by(graph: Graph, value: int) -> int:
    """Return the value that another is the whole of, but for biases and constant scales."""
    while (op := graph.producers.get(value := graph.trunk(value))) is not None and op.is_neutral:
        value = op.inputs[0]
    return value


def _is_of_coordinates(
    graph: Graph, shapes: set[tuple[int, ...]], outputs: set[tuple[int, ...]]
) -> bool:
    """Return whether all that a model reads are a few numbers for each example, and no tables.

    There is an output for each: what is pooled over the points of a set is no function of them.
    """
    if not shapes or any(op.kind == "lookup" and op.inputs for op in graph.ops):
        return False
    few = all(len(shape) == 2 and shape[-1] <= FEW for shape in shapes)
    return few and {shape[:1] for shape in shapes} == {shape[:1] for shape in outputs}


def _signals(graph: Graph) -> set[tuple[int, ...]]:
    """Return the shapes of the example's tensors that are no indices of tables."""
    found = set[tuple[int, ...]]()
    for op in graph.ops:
        if op.kind != "lookup":
            found.update(graph.sizes[v] for v in op.inputs if _is_given(graph, v))
    return found


def _is_given(graph: Graph, value: int) -> bool:
    given = graph.given.get(value)
    return value not in graph.producers and not (given is not None and given.fixed)


def _is_behind_layer(graph: Graph, op: Op) -> bool:
    waiting, seen = list(op.inputs), set[int]()
    while waiting:
        maker = graph.producers.get(waiting.pop())
        if maker is None or maker.index in seen:
            continue
        if maker.kind in LAYERS and maker.uses:
            return True
        seen.add(maker.index)
        waiting.extend(maker.inputs)
    return False
