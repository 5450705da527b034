"""The size of the gradient at every value, from the outputs back: the adjoint of mean-field theory.

Going back through random weights the gradient is Gaussian too, and independent of the signal
(Schoenholz et al. 2017, section 4; Yang 2020 says when that is exact). So it is stood for by samples,
as the signal is, one for each sample of it: the gradient of what the model does between weights is
worked out at the samples.

To follow another operation, write a function of `Backward`, the operation and the gradient of its
output in the file of its subject, and name it in `ROUTES`.
"""

from __future__ import annotations

from collections.abc import Sequence

from isoinit._planning.propagation.backward import (
    attention,
    norms,
    places,
    pointwise,
    recurrent,
    weights,
)
from isoinit._planning.propagation.backward.gradient import (
    NOTHING,
    Backward,
    Gradient,
    PullBack,
    unknown,
)
from isoinit._planning.propagation.context import Context
from isoinit._reading.graph import Graph, Op

LARGEST = 1e60  # a second moment beyond counts as not known

LARGEST_OF = [f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)]

ROUTES: dict[str, PullBack] = {
    "softmax": attention.softmax,
    **dict.fromkeys(("matmul", "bmm", "mm", "einsum"), attention.product),
    "scaled_dot_product_attention": attention.scaled_dot_product,
    **dict.fromkeys(("mean", "sum"), places.reduced),
    **dict.fromkeys(("cat", "concat", "stack"), places.joined),
    "glu": pointwise.glu,
    **dict.fromkeys(("topk", *LARGEST_OF), places.picked),
    **dict.fromkeys(("index_add", "scatter_add"), places.scattered),
}


def propagate_back(context: Context) -> dict[int, Gradient | None]:
    """Return the gradient at every value that depends on a parameter.

    The loss's gradient is white noise of root mean square one at every tensor that the model
    returns, as `isoinit.check` sends it back where no loss is given.

    Args:
        context: a walk forward that is complete.

    Returns:
        The gradients by the number of the value: None where that is not known, because a path on
        which it comes back is not followed. A value to which none comes back is missing.
    """
    graph = context.graph
    back = Backward(context, _carrying(graph))
    for value in _ends(graph, back.carries):
        back.send(value, back.noise(1.0))
    for op in reversed(graph.ops):
        gradient = _arrived(back, op)
        if gradient is not NOTHING:
            _return(back, op, gradient)
    return back.gradients


def _carrying(graph: Graph) -> set[int]:
    """Return the values that depend on a parameter."""
    found: set[int] = set()
    for op in graph.ops:
        if op.uses or not found.isdisjoint(op.inputs):
            found.update(op.outputs)
    return found


def _ends(graph: Graph, carries: set[int]) -> list[int]:
    """Return the tensors that the loss's gradient comes to: not a loss that the model worked out."""
    ends = [value for value in graph.outputs if value in carries]
    return [value for value in ends if graph.sizes.get(value, (1,))] or ends


def _arrived(back: Backward, op: Op) -> Gradient | None:
    """Return the gradient of what an operation made; of several outputs, of what they are part of."""
    if len(op.outputs) > 1 and op.kind == "move" and op.inputs:
        return places.split(back, op)
    came = [value for value in op.outputs if value in back.gradients]
    if not came:
        return NOTHING
    if op.kind == "recurrent":
        return recurrent.arrived(back, op)
    return back.gradients[came[0]] if came == [op.outputs[0]] else None


def _return(back: Backward, op: Op, gradient: Gradient | None) -> None:
    """Send the gradients of an operation's inputs back to them."""
    norm = back.context.graph.norms.get(op.index) if op.kind != "norm" else None
    if norm is not None:
        for step in back.context.graph.scaling(op):
            gradient = gradient and weights.through_parameters(back, step, gradient)
        known = gradient and norms.normed_in_steps(back, op, gradient, norm)
        back.send(norm, known)
        return
    sent = unknown(op) if gradient is None else _behind(back, op, gradient)
    for value, found in zip(op.inputs, sent, strict=True):
        large = found is not None and not found.second < LARGEST  # nor NaN
        if found is not NOTHING:
            back.send(value, None if large else found)


def _behind(back: Backward, op: Op, gradient: Gradient) -> Sequence[Gradient | None]:
    """Return the gradients of an operation's inputs."""
    if not op.inputs or op.kind == "lookup":
        return unknown(op)
    sizes = back.context.graph.sizes
    if all(0 in sizes.get(value, ()) for value in op.inputs):  # the mean over no examples
        return [NOTHING] * len(op.inputs)
    if op.kind == "recurrent":
        return recurrent.through_time(back, op, gradient)
    if op.kind == "map":
        return weights.weighted(back, op, gradient)
    if op.kind == "attention":
        return attention.packed(back, op, gradient)
    before = weights.through_parameters(back, op, gradient)
    if before is None:
        return unknown(op)
    if op.kind == "norm":
        return norms.normed(back, op, before)
    if len(op.outputs) > 1 and op.kind == "move":  # put together by `_arrived`
        return [before, *unknown(op)[1:]]
    default = places.moved if op.kind == "move" else pointwise.elementwise
    return ROUTES.get(op.name, default)(back, op, before)
