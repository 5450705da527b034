"""One forward and one backward pass of a JAX model that show its layers: one jitted function."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isoinit._drawing.streams import Stream
from isoinit._reading.graph import first_line
from isoinit._reading.jax import Evaluation, Traced
from isoinit._verifying.targets import own_loss
from isoinit.errors import ArgumentError, IsoinitError, TraceError
from isoinit.jax.models import Model, traced
from isoinit.jax.spelling import is_inexact, is_key

Loss = Callable[[Any], Any]


class Came(NamedTuple):
    """What came of the two passes, as arrays of JAX.

    Attributes:
        gradients: by each trained parameter; None where none can come.
        back: the gradient by each value that was asked for; None where none can come. It is that of
            all that is made of the value.
        loss: the loss; None where a random gradient was sent back.
        outputs: the arrays that the model returned.
        values: each value that was asked for: a layer's output with its bias.
        largest: the largest absolute value of each value, where every one is looked at.
    """

    gradients: dict[str, Any]
    back: dict[int, Any]
    loss: Any
    outputs: Sequence[Any]
    values: dict[int, Any]
    largest: dict[int, Any]


class Passes:
    """The passes of a model, compiled at their first run.

    Args:
        model: the model.
        read: what was read of it.
        loss: of the model's output; None for the output's own, or else a random gradient of unit size.
        needed: the values that must be shown: see `Evaluation`.
        every: whether to look at every value, for those that are zero or not finite. Then `back` tells
            of each whether its gradient is finite, and no values are returned. It compiles longer.

    Attributes:
        ruled: after a run, the values to which no gradient comes: see `Evaluation.ruled`.
        has_loss: after a run, whether there is a loss.
    """

    def __init__(
        self,
        model: Model,
        read: Traced,
        loss: Loss | None,
        needed: Collection[int],
        *,
        every: bool = False,
    ) -> None:
        self._model, self._read, self._loss, self._every = model, read, loss, every
        self._needed = frozenset(needed)
        self._asked = read.shown if every else self._needed
        self._tree = traced(model)[1]
        self._trained = [name for name, leaf in model.names.items() if is_inexact(leaf)]
        self._compiled: Any = None
        self._cut: frozenset[tuple[int, Any]] = frozenset()
        self.ruled: dict[int, str] = {}
        self.has_loss = False

    def run(self, params: Mapping[str, Any], rest: Sequence[Any]) -> Came:
        """Return what comes of the passes for these parameters.

        Args:
            params: the parameters by name.
            rest: the leaves of the model's state, then those of the inputs.

        Raises:
            ArgumentError: if the loss is not one real number.
            TraceError: if the loss fails, or the model has no gradient.
        """
        seeds = self._seeds()
        given = (dict(params), list(rest), seeds)
        if self._compiled is None:
            staged = self._staged(given)
            count = len(jax.tree_util.tree_leaves(seeds))
            linked = _reached(staged.jaxpr.jaxpr, count)
            shown = jax.tree_util.tree_unflatten(
                jax.tree_util.tree_structure(staged.out_info), linked
            )
            self._cut = frozenset(
                (place, key) for place in (0, 1) for key, does in shown[place].items() if not does
            )
            self._compiled = staged.lower().compile()
        came = Came(*self._compiled(*given))
        gradients = {n: None if (0, n) in self._cut else g for n, g in came.gradients.items()}
        back = {v: None if (1, v) in self._cut else g for v, g in came.back.items()}
        return came._replace(gradients=gradients, back=back)

    def _staged(self, given: tuple[Any, ...]) -> Any:
        try:
            return jax.jit(self._both).trace(*given)
        except IsoinitError:
            raise
        except Exception as failure:  # of any kind: it is that of a derivative in the model
            raise TraceError(
                f"{self._model.name} has no gradient: {type(failure).__name__}: "
                f"{first_line(failure)} A check computes gradients, as training does"
            ) from failure

    def output(self, arrays: Sequence[Any]) -> Any:
        """Return arrays as the model returns its own."""
        return jax.tree_util.tree_unflatten(self._tree, arrays)

    def _seeds(self) -> list[Any]:
        """Return what is sent back: a one for a loss, or noise of unit size for each output."""
        sizes = [(aval.shape, aval.dtype) for aval in self._read.closed.out_avals]
        return [np.ones((), np.float32), *(unit_noise(*size, i) for i, size in enumerate(sizes))]

    def _both(self, params: dict[str, Any], rest: list[Any], seeds: list[Any]) -> tuple[Any, ...]:
        trained = {name: params[name] for name in self._trained}
        sizes = jax.eval_shape(lambda: self._forward(params, trained, rest, None)[1][1])
        probes = {v: jnp.zeros(size.shape, size.dtype) for v, size in sizes.items()}

        def forward(trained: dict[str, Any], probes: dict[int, Any]) -> Any:
            return self._forward(params, trained, rest, probes)

        targets, back, aux = jax.vjp(forward, trained, probes, has_aux=True)
        one, *noise = seeds
        sent = [
            (one if self.has_loss else noise[place]).astype(target.dtype)
            for place, target in targets.items()
        ]
        gradients, by_value = back(dict(zip(targets, sent, strict=True)))
        loss, _, outs, values, largest = aux
        if self._every:
            by_value, values = {v: jnp.isfinite(g).all() for v, g in by_value.items()}, {}
        return gradients, by_value, loss, outs, values, largest

    def _forward(
        self,
        params: dict[str, Any],
        trained: dict[str, Any],
        rest: list[Any],
        probes: dict[int, Any] | None,
    ) -> Any:
        """Return what gradients go back from, by place, and what is shown.

        Without probes, what is shown is where each value was made first.
        """
        first: dict[int, Any] = {}
        last: dict[int, Any] = {}
        largest: dict[int, Any] = {}

        def seen(number: int, array: Any) -> Any:
            if not jnp.issubdtype(array.dtype, jnp.inexact) or not array.size:
                return array
            if number in self._asked and number not in first and not run.beside:
                first[number] = array
                array = array if probes is None else array + probes[number]
            if number in self._asked:
                last[number] = array
            if self._every:
                largest[number] = jnp.abs(array).max().astype(jnp.float32)
            return array

        read = self._read
        run = Evaluation(read.visits, read.graph.sizes, seen, self._needed)
        held = {**params, **trained}  # in another order: JAX sorts the keys
        outs = run.closed(read.closed, [*(held[name] for name in self._model.names), *rest])
        self.ruled = run.ruled
        loss = self._chosen(self.output(outs))
        self.has_loss = loss is not None
        real = {i: out for i, out in enumerate(outs) if jnp.issubdtype(out.dtype, jnp.inexact)}
        targets = real if loss is None else {0: loss}
        return targets, (loss, first, outs, last, largest)

    def _chosen(self, output: Any) -> Any:
        """Return the loss as an array of one number; None where there is none."""
        if self._loss is None:
            loss = own_loss(output)
        else:
            try:
                loss = self._loss(output)
            except Exception as failure:  # of any kind: it is the user's
                raise TraceError(
                    f"loss failed on the output of {self._model.name}: {type(failure).__name__}: "
                    f"{first_line(failure)}. Give a function that jax.grad can differentiate"
                ) from failure
        if loss is None:
            return None
        if not isinstance(loss, jax.Array | np.ndarray | np.generic | float):
            raise ArgumentError(
                f"loss returned a {type(loss).__name__}; expected an array of one number. Use the "
                "mean"
            )
        loss = jnp.asarray(loss)
        if loss.size != 1 or not jnp.issubdtype(loss.dtype, jnp.floating):
            raise ArgumentError(
                f"loss returned {loss.dtype}[{', '.join(map(str, loss.shape))}]; expected an "
                "array of one real number. Use the mean"
            )
        return loss.reshape(())


def with_other_keys(rest: Sequence[Any], number: int) -> list[Any]:
    """Return leaves with other keys of random numbers: what was dropped by chance comes back."""

    def other(key: Any) -> Any:
        flat = [jax.random.fold_in(one, number) for one in key.reshape(-1)]
        return jnp.stack(flat).reshape(key.shape)

    return [other(leaf) if is_key(leaf) else leaf for leaf in rest]


def unit_noise(shape: tuple[int, ...], dtype: Any, index: int) -> Any:
    """Return a random gradient of root mean square one, the same at every call: torch's, too."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        return np.zeros((), np.float32)
    parts = 2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1
    noise = np.empty(math.prod(shape) * parts, np.float32)
    Stream(0, "check", f"gradient {index}").normal(noise, std=parts**-0.5)
    return noise.view(np.complex64 if parts == 2 else np.float32).reshape(shape)


def _reached(jaxpr: Any, count: int) -> list[bool]:
    """Return of each output whether it depends on the last arguments, `count` of them.

    What does not depend on what is sent back is no gradient: JAX puts zeros in its place.
    """
    from jax.extend.core import Literal

    linked = set(jaxpr.invars[len(jaxpr.invars) - count :])
    for eqn in jaxpr.eqns:
        if any(not isinstance(atom, Literal) and atom in linked for atom in eqn.invars):
            linked.update(eqn.outvars)
    return [not isinstance(atom, Literal) and atom in linked for atom in jaxpr.outvars]
