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

import math
from collections.abc import Callable, Sequence

from isoinit._planning.propagation import (
    attention,
    norms,
    places,
    pointwise,
    recurrent,
    segments,
    tables,
    weights,
)
from isoinit._planning.propagation.context import Context, Fill, Route
from isoinit._planning.propagation.inputs import STANDARD, Arrival, arrivals, nominal_of
from isoinit._planning.propagation.moments import (
    Lost,
    Moments,
    Walk,
    needed,
    signal_of,
    units_of,
)
from isoinit._planning.propagation.order import in_order
from isoinit._planning.propagation.samples import SAMPLES, Signal, replace
from isoinit._reading.graph import SUMS, Given, Graph, Op
from isoinit._reading.scores import makes_scores

CHOOSING = frozenset("embedding getitem index_select gather take_along_dim take".split())
LARGEST = 1e60  # a second moment beyond counts as not known
# Second moments of sums and means are not known below this share of their parts' (float64: 1e-32).
ROUNDING = 1e-24
NOTHING = Given(0.0, 0.0, 0.0, 0.0)
CANCELLING = SUMS | {"mean", "sum"}

ROUTES: dict[str, Route] = {
    "softmax": attention.softmax,
    **dict.fromkeys(attention.PRODUCTS, attention.product),
    "scaled_dot_product_attention": attention.scaled_dot_product,
    **dict.fromkeys(("mean", "sum"), pointwise.reduced),
    **dict.fromkeys(("amax", "max"), pointwise.extreme),
    **dict.fromkeys(("cat", "concat", "stack"), places.joined),
    "glu": pointwise.glu,
    "one_hot": tables.one_hot,
    "topk": places.picked,
    "written": places.written,
}


def propagate(
    graph: Graph,
    fill: Fill,
    *,
    nominal: bool = False,
    seen: Callable[[int, Signal], None] | None = None,
    moments: Moments | None = None,
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
        moments: what was measured; what is needed and not known is noted there.

    Returns:
        The signals by the number of the value. A value behind an operation that is not understood is
        missing, and so is what comes of it until the next norm layer, or until a weight whose input
        was measured.
    """
    moments = Moments() if moments is None else moments
    return moments.answer(walking(graph, fill, nominal=nominal, seen=seen))


def walking(
    graph: Graph,
    fill: Fill,
    *,
    nominal: bool = False,
    seen: Callable[[int, Signal], None] | None = None,
) -> Walk[dict[int, Signal]]:
    """Walk through a graph as `propagate` does, asking for what is needed and not known.

    It can so be walked while a model runs: all parameters that are used before a value is made have
    been chosen when the walk asks for it.
    """
    context = Context(graph, fill, nominal)
    signals = context.signals
    arriving = {value: a for value, a in arrivals(graph).items() if nominal or not a.rms}
    lost: dict[int, str] = {}  # each value that is not known, and the operation that lost it

    def know(value: int, signal: Signal) -> None:
        signals[value] = signal
        if seen is not None:
            seen(value, signal)

    for together in in_order(graph):
        for value in (value for op in together for value in op.inputs):
            if value not in signals and value not in graph.producers:
                know(value, _example(context, value, arriving.get(value)))
                context.of_example.add(value)
        for op in together:
            if not op.uses and context.of_example.issuperset(op.inputs):
                context.of_example.update(op.outputs)
            for value in needed(graph, op):
                if value in signals:
                    continue
                known = yield Lost(value, lost.get(value, op.name))
                if known is not None:
                    units = frozenset({units_of(graph, value)})
                    know(value, signal_of(context, known, units, measured=True))
            signal = _after(context, op)
            if (arrival := arriving.get(op.outputs[0])) is not None:
                counted = arrival.counts(None if signal is None else signal.second)
                signal = signal if counted is None else _of_moments(context, op.outputs[0], counted)
            if signal is not None and _is_trusted(context, op, signal):
                for value, part in places.pieces(context, op, signal).items():
                    know(value, part)
                if (parts := segments.side_by_side(context, op, signal)) is not None:
                    context.segments[op.outputs[0]] = parts
            by = next((lost.get(v, op.name) for v in op.inputs if v not in signals), op.name)
            lost.update((value, by) for value in op.outputs if value not in signals)
    return signals


def _example(context: Context, value: int, arrival: Arrival | None) -> Signal:
    """Return a tensor of the example: with its own moments, or standardized and independent.

    A buffer holds what it holds, whatever the example.
    """
    given = context.graph.given.get(value)
    if arrival is not None and arrival.given is not None:
        return _of_moments(context, value, arrival.given)
    if given is not None and (given.fixed or (not context.nominal and given.second > 0)):
        signal = _of_moments(context, value, given)
        return replace(signal, unlike=signal.units) if given.uneven else signal
    return _of_moments(
        context, value, nominal_of(context.graph, value) if context.nominal else STANDARD
    )


def _of_moments(context: Context, value: int, given: Given) -> Signal:
    """Return Gaussian samples of given moments, for units that lie where an input has them."""
    units = frozenset({context.graph.units_of_input(value)})
    return signal_of(context, given, units, measured=False)


def _after(context: Context, op: Op) -> Signal | None:
    """Return the signal that an operation gives; None where that is not known."""
    if op.index in context.graph.norms and op.kind != "norm":
        given = context.signals.get(context.graph.norms[op.index])
        normed: Signal | None = norms.normed_in_steps(context, op, given)
        for step in context.graph.scaling(op):
            normed = weights.scaled_and_shifted(context, step, normed)
        return normed
    inputs = [context.signals.get(value) for value in op.inputs]
    if op.kind == "lookup":
        return weights.looked_up(context, op)
    if op.kind == "norm":
        signal = norms.normed(context, op, inputs[0] if inputs else None)
        return weights.scaled_and_shifted(context, op, signal)
    chosen_by_signal = op.replay is not None and not context.of_example.issuperset(op.inputs)
    if op.name in CHOOSING and op.detail.constant is not None and not (op.uses or chosen_by_signal):
        return tables.chosen(context, op)
    known = [signal for signal in inputs if signal is not None]
    if not inputs and op.detail.constant == (0.0, 0.0) and [u.slot for u in op.uses] == ["weight"]:
        context.ask(op, None)  # a weight of zeros, such as the first state of a loop
        return signal_of(context, NOTHING, context.last_axis(op.outputs[0]), measured=False)
    if not inputs or (len(known) < len(inputs) and not _lacks_mask(context, op)):
        context.ask(op, None)
        return None
    if op.name in SUMS and len(known) < len(inputs):
        return known[0]
    if op.kind == "map":
        return weights.weighted(context, op, known)
    if op.kind == "recurrent":
        return recurrent.settled(context, op, known)
    if op.kind == "attention":
        return attention.packed(context, op, known)
    route = ROUTES.get(op.name, places.moved if op.kind == "move" else pointwise.pointwise)
    signal = route(context, op, known)
    if route is pointwise.pointwise and signal is not None:
        signal = replace(signal, unlike=places.unlike(context, op, known))
    return weights.scaled_and_shifted(context, op, signal)


def _lacks_mask(context: Context, op: Op) -> bool:
    """Return whether what is not known of an operation's inputs is a mask for attention.

    It is the fourth input of fused attention; or it is added to scores, and made of the example alone.
    """
    lost = [value for value in op.inputs if value not in context.signals]
    if op.name == "scaled_dot_product_attention":
        return lost == [*op.inputs[3:]]
    sizes = context.graph.sizes
    added = op.name in SUMS and len(op.inputs) == 2 and len(lost) == 1
    if not added or not context.of_example.issuperset(lost):
        return False
    other = next(value for value in op.inputs if value not in lost)
    same = other not in context.of_example and sizes[other] == sizes[op.outputs[0]]
    return same and makes_scores(context.graph, op)


def _is_trusted(context: Context, op: Op, signal: Signal) -> bool:
    """Return whether a second moment can be relied on.

    It cannot where it is too large, where a few samples make it up between them, and where nothing
    or rounding is left of a difference: samples stand for other places and examples, too.
    """
    if not (second := signal.second) < LARGEST:  # nor NaN
        return False
    if op.kind != "other":
        return True
    known = [context.signals[value] for value in op.inputs if value in context.signals]
    if op.name not in CANCELLING:
        return signal.trusted or _multiplies_independent(op, signal, known)
    largest = max((fed.second for fed in known), default=0)
    return not largest > 0 or second > ROUNDING * largest


def _multiplies_independent(op: Op, signal: Signal, factors: Sequence[Signal]) -> bool:
    """Return whether an operation is a product of two independent signals, of no wild tail.

    Its second moment is the product of theirs then, however few of its own samples make that up; and
    its kurtosis is that of theirs: up to the number of samples, which is about as many elements as a
    layer has, these show it.
    """
    if op.name != "mul" or len(factors) != 2:
        return False
    left, right = factors
    independent = math.isclose(signal.second, left.second * right.second)  # see `put_right`
    return independent and left.makers * right.makers > SAMPLES
