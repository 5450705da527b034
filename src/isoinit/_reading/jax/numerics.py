"""Primitives of JAX, run again on NumPy arrays of other shapes than recorded, in float64.

Three tables say what primitives make of numbers, and what their gradients are: `elementwise`,
`gradients` and `along_axes`. Any other elementwise primitive is run by JAX itself (`by_jax`), which
is 100 times slower. What depends on recorded shapes, holds other functions, or uses chance is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isoinit._reading.graph import ReplayError, first_line
from isoinit._reading.jax import along_axes, by_jax, elementwise, gradients
from isoinit._reading.jax.elementwise import Params, Values, as_recorded

ELEMENTWISE = elementwise.NAMES
KEEPS_DIMS = along_axes.KEEPS_DIMS


def replay(
    primitive_name: str, params: Params, arrays: Sequence[Any], dtypes: Sequence[Any] = ()
) -> list[Values]:
    """Return what a primitive makes of arrays of any shapes that broadcast.

    A reduction keeps the axes that it reduces, with one element each.

    Args:
        primitive_name: its name in the equation.
        params: the parameters of the equation.
        arrays: what it reads, in the place of the recorded values.
        dtypes: the recorded dtypes of what it reads; by default the arrays'. Numbers of another
            kind are cast where no value changes. Every floating-point number is float64.

    Returns:
        One array for each result, whatever its recorded shape.

    Raises:
        ReplayError: if it cannot be replayed, or not on these arrays; the message says why.

    >>> replay("integer_pow", {"y": 3}, [np.array([1.0, 2.0])])
    [array([1., 8.])]
    """
    return _made(primitive_name, params, recorded(arrays, dtypes))


def pull(
    primitive_name: str,
    params: Params,
    arrays: Sequence[Any],
    sent: Sequence[Values | None],
    dtypes: Sequence[Any] = (),
    made: Sequence[Values] | None = None,
    wanted: Sequence[bool] = (),
) -> list[Values]:
    """Return the exact gradients by the arrays that a primitive reads.

    Where there is no derivative they are JAX's: a tie of `max` is shared, a jump has none.

    Args:
        primitive_name: its name in the equation.
        params: the parameters of the equation.
        arrays: as for `replay`.
        sent: the gradient by each result; None for zeros.
        dtypes: as for `replay`.
        made: what `replay` made of the arrays, where that is known already.
        wanted: by which arrays; by default by all. Some primitives have no gradient by what is
            mostly a constant.

    Returns:
        One array for each of `arrays`, of its shape; zeros for integers, booleans, and what is not
        wanted.

    Raises:
        ReplayError: if it cannot be replayed, or has no gradient.

    >>> pull("integer_pow", {"y": 3}, [np.array([1.0, 2.0])], [np.ones(2)])
    [array([ 3., 12.])]
    """
    given = recorded(arrays, dtypes)
    known = _made(primitive_name, params, given) if made is None else list(made)
    full = [
        np.zeros(one.shape) if gradient is None else gradient
        for one, gradient in zip(known, sent, strict=True)
    ]
    if any(one.shape != gradient.shape for one, gradient in zip(known, full, strict=True)):
        raise ReplayError("was sent gradients of another shape than its results")
    smooth = any(one.dtype.kind in "fc" for one in known)
    asked = [
        smooth and by and array.dtype.kind in "fc"
        for by, array in zip(wanted or [True] * len(given), given, strict=True)
    ]
    found = _pulled(primitive_name, params, given, known, full, asked)
    return [
        np.array(one, np.float64, order="C") if by else np.zeros(array.shape)
        for one, by, array in zip(found, asked, given, strict=True)
    ]


def recorded(arrays: Sequence[Any], dtypes: Sequence[Any] = ()) -> list[Values]:
    """Return arrays with the kinds of numbers that were recorded.

    Raises:
        ReplayError: if their numbers are none of these.
    """
    kinds = dtypes or [None] * len(arrays)
    return [as_recorded(array, dtype) for array, dtype in zip(arrays, kinds, strict=True)]


def _made(name: str, params: Params, given: Sequence[Values]) -> list[Values]:
    if name not in elementwise.NAMES and name not in along_axes.NAMES:
        return by_jax.values(name, params, given)
    run = elementwise.values if name in elementwise.NAMES else along_axes.values
    with np.errstate(all="ignore"):
        try:
            return run(name, params, given)
        except ReplayError:
            raise
        except (ValueError, TypeError, IndexError, OverflowError) as error:  # NumPy's, of shapes
            raise ReplayError(f"cannot be replayed: {first_line(error)}") from error


def _pulled(
    name: str,
    params: Params,
    given: Sequence[Values],
    made: Sequence[Values],
    sent: Sequence[Values],
    wanted: Sequence[bool],
) -> Sequence[Values]:
    """Return the gradients by the wanted arrays, and anything for the others."""
    if not any(wanted):
        return given
    if any(np.iscomplexobj(array) for array in (*given, *made)):
        raise ReplayError("has no gradient here: computes with complex numbers")
    if name in elementwise.SAME and name not in gradients.JUMPS:
        return sent
    with np.errstate(all="ignore"):
        if name in along_axes.NAMES:
            if found := along_axes.gradients(name, params, given, made[0], sent):
                return found
        elif gradients.knows(name, wanted):
            slopes = [
                gradients.derivative(name, params, given, made[0], place) if by else 0.0
                for place, by in enumerate(wanted)
            ]
            return [
                gradients.summed_to(np.multiply(sent[0], slope), array.shape)
                for slope, array in zip(slopes, given, strict=True)
            ]
        found = by_jax.gradients(name, params, given, wanted, sent[0])
    shapes = [array.shape for array in given]
    return [gradients.summed_to(one, to) for one, to in zip(found, shapes, strict=True)]
