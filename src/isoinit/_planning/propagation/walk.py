"""The size of the signal through a graph, before anything is drawn: mean-field theory on samples.

In a wide layer the output of random weights is Gaussian, and its distribution follows from the second
moments of its input (Poole et al. 2016; Lee et al. 2018). So a value is stood for by samples of one of
its units: a weight draws Gaussian samples of the variance that its standard deviation gives, and what
the model does between weights is replayed on the samples, whatever it is.

How correlated two elements of one unit are decides what averaging leaves of them (attention, pooling),
so each sample has three rows: a unit *here*, the same unit at another place of the same example, and
at the same place of another example.

To follow another operation, write a function of `Context`, the operation and its inputs in the file of
its subject, and name it in `ROUTES`.
"""

from __future__ import annotations

from collections.abc import Callable

from isoinit._planning.propagation import (
    attention,
    norms,
    places,
    pointwise,
    recurrent,
    tables,
    weights,
)
from isoinit._planning.propagation.context import Context, Fill, Route
from isoinit._planning.propagation.inputs import STANDARD, arrivals
from isoinit._planning.propagation.order import in_order
from isoinit._planning.propagation.samples import Signal, gaussian, part, products_of
from isoinit._reading.graph import Given, Graph, Op

CHOOSING = frozenset("embedding getitem index_select gather take_along_dim take".split())
LARGEST = 1e60  # a second moment beyond counts as not known

ROUTES: dict[str, Route] = {
    "softmax": attention.softmax,
    **dict.fromkeys(attention.PRODUCTS, attention.product),
    "scaled_dot_product_attention": attention.scaled_dot_product,
    **dict.fromkeys(("mean", "sum"), pointwise.reduced),
    **dict.fromkeys(("cat", "concat", "stack"), places.joined),
    "glu": pointwise.glu,
    "one_hot": tables.one_hot,
    "topk": places.picked,
}


def propagate(
    graph: Graph,
    fill: Fill,
    *,
    nominal: bool = False,
    seen: Callable[[int, Signal], None] | None = None,
) -> dict[int, Signal]:
    """Return the signal at every value of a graph for which it can be worked out.

    Args:
        graph: what the model does.
        fill: what each parameter is filled with; asked in the order of execution, each time a
            parameter is used, with the signal that the operation reads.
        nominal: leave out what follows from the example alone: its moments (an input counts as
            standardized unless the forward scales it first, see `inputs`), and how many places
            attention and pooling average over.
        seen: called with each value and its signal, as soon as it is known.

    Returns:
        The signals by the number of the value. A value behind an operation that is not understood is
        missing, and so is what comes of it until the next norm layer.
    """
    context = Context(graph, fill, nominal)
    signals = context.signals
    arriving = {value: a for value, a in arrivals(graph).items() if nominal or not a.rms}
    for op in in_order(graph):
        given = [v for v in op.inputs if v not in signals and v not in graph.producers]
        found = {value: _example(context, value) for value in given}
        signals.update(found)
        signal = _after(context, op)
        if (arrival := arriving.get(op.outputs[0])) is not None:
            signal = _of_moments(context, op.outputs[0], arrival.given)
        if signal is not None and signal.second < LARGEST:  # nor NaN
            several = len(op.outputs) > 1
            made = {v: part(signal, i) if several else signal for i, v in enumerate(op.outputs)}
            signals.update(made)
            found |= made
        for value, signal in found.items():
            if seen is not None:
                seen(value, signal)
    return signals


def _example(context: Context, value: int) -> Signal:
    """Return a tensor of the example: with its own moments, or standardized and independent.

    A buffer holds what it holds, whatever the example.
    """
    given = context.graph.given.get(value)
    if given is not None and (given.fixed or (not context.nominal and given.second > 0)):
        return _of_moments(context, value, given)
    return _of_moments(context, value, STANDARD)


def _of_moments(context: Context, value: int, given: Given) -> Signal:
    """Return Gaussian samples of given moments, for units that lie where an input has them."""
    products = products_of(given.second, given.nearby, given.across)
    image = len(context.graph.sizes.get(value, ())) >= 4
    units = frozenset({1}) if image else context.last_axis(value)
    noise = gaussian(context.rng, products - given.mean**2).rows + given.mean
    return Signal(noise, units)


def _after(context: Context, op: Op) -> Signal | None:
    """Return the signal that an operation gives; None where that is not known."""
    if op.index in context.graph.norms and op.kind != "norm":
        return norms.normed_in_steps(
            context, op, context.signals.get(context.graph.norms[op.index])
        )
    inputs = [context.signals.get(value) for value in op.inputs]
    if op.kind == "lookup":
        return weights.looked_up(context, op)
    if op.kind == "norm":
        signal = norms.normed(context, op, inputs[0] if inputs else None)
        return weights.scaled_and_shifted(context, op, signal)
    if op.name in CHOOSING and op.detail.constant is not None and not op.uses:
        return tables.chosen(context, op)
    known = [signal for signal in inputs if signal is not None]
    if not inputs or len(known) < len(inputs):
        context.ask(op, None)
        return None
    if op.kind == "map":
        return weights.weighted(context, op, known)
    if op.kind == "recurrent":
        return recurrent.settled(context, op, known)
    if op.kind == "attention":
        return attention.packed(context, op, known)
    route = ROUTES.get(op.name, places.moved if op.kind == "move" else pointwise.pointwise)
    return weights.scaled_and_shifted(context, op, route(context, op, known))
