"""The singular values of a JAX model's input–output Jacobian: dynamical isometry, measured."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from isoinit.errors import ArgumentError
from isoinit.jax.models import Model, explained

LARGEST = 2**24  # numbers in the Jacobian: 64 MiB, and a minute for its singular values


def singular_values(model: Model) -> tuple[float, ...]:
    """Return the singular values of the Jacobian of the first example's output by that example.

    All of them are near one in a network with dynamical isometry (Saxe et al. 2014).

    Args:
        model: with values. The first floating-point array of its inputs is the one that is varied; the
            other examples in it stay as they are, for a batch norm to have its batch.

    Raises:
        ArgumentError: if there is no such array, the model returns no floating-point array, or the
            Jacobian has more than 2²⁴ numbers.
        TraceError: if the model has no derivative.
    """
    leaves, structure = jax.tree_util.tree_flatten(model.inputs)
    place = next((i for i, leaf in enumerate(leaves) if _can_vary(leaf)), None)
    if place is None:
        raise ArgumentError(
            "jacobian=True, but the inputs hold no floating-point array of examples to "
            "differentiate by. Pass embedded inputs instead of tokens"
        )
    given = jnp.asarray(leaves[place])

    def first(example: Any) -> Any:
        whole = jnp.concatenate([example[None], given[1:]])
        swapped = [whole if i == place else leaf for i, leaf in enumerate(leaves)]
        inputs = jax.tree_util.tree_unflatten(structure, swapped)
        made = jax.tree_util.tree_leaves(model.apply(model.params, model.state, *inputs))
        output = next((one for one in made if _can_vary(one)), None)
        if output is None:
            raise ArgumentError(
                "jacobian=True, but the model returns no floating-point array with examples along "
                "its first axis"
            )
        return (output[0] if len(output) == len(given) else output).reshape(-1)

    try:
        count = jax.eval_shape(first, given[0]).size * given[0].size
        matrix = None if count > LARGEST else jax.jit(jax.jacrev(first))(given[0])
    except ArgumentError:
        raise
    except Exception as failure:  # of any kind: it is the model's
        raise explained(failure, model) from failure
    if matrix is None:
        raise ArgumentError(
            f"jacobian=True, but the Jacobian has {count:,} numbers, more than {LARGEST:,}. Pass "
            "a smaller example, or jacobian=False"
        )
    rows = np.asarray(matrix, np.float64).reshape(matrix.shape[0], -1)
    if not np.isfinite(rows).all():
        return ()
    values = np.linalg.svd(rows, compute_uv=False)
    return tuple(value for value in values.tolist() if math.isfinite(value))


def _can_vary(leaf: Any) -> bool:
    return leaf.ndim > 0 and len(leaf) > 0 and bool(jnp.issubdtype(leaf.dtype, jnp.floating))
