"""Constants of a jaxpr: what depends on neither the inputs nor a parameter, and what is known of it.

Their values are computed when they are asked for, in NumPy or by JAX itself, if they are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.constants import MOST, SAMPLED, WAVES, places
from isoinit._reading.graph import SUMS, Array, Detail, ReplayError, first_line
from isoinit._reading.jax.folding import folded
from isoinit._reading.jax.held import Known
from isoinit._reading.values import rows_alike, shortest

HIDES = -20.0  # a score below leaves a weight of 2e-9
ORDERS = frozenset({"lt", "le", "gt", "ge"})
DRAWS = frozenset("random_bits threefry2x32 rng_bit_generator rng_uniform random_gamma".split())


def held(values: Any) -> Known:
    """Return a constant that has its values."""
    if not is_number(getattr(values, "dtype", np.dtype(float))):
        return key(values)
    array = np.asarray(values)
    return Known(lambda: array, array.shape, is_float(array.dtype))


def unknown(shape: Sequence[int], dtype: Any, why: str) -> Known:
    """Return a constant whose values are not known."""

    def refuse() -> npt.NDArray[Any]:
        raise ReplayError(f"a constant tensor {why}")

    return Known(refuse, tuple(shape), is_float(dtype))


def is_number(dtype: Any) -> bool:
    """Return whether a type is one of numbers, and not of keys."""
    return isinstance(dtype, np.dtype)


def key(leaf: Any) -> Known:
    """Return a constant that is a key for random numbers."""
    return Known(lambda: leaf, tuple(leaf.shape), False)


def is_float(dtype: Any) -> bool:
    """Return whether a type is one of floating-point numbers, bfloat16 among them."""
    return is_number(dtype) and (dtype.kind == "f" or dtype.name.startswith(("bfloat", "float")))


def computed(
    name: str,
    params: Mapping[str, Any],
    inputs: Sequence[Known],
    shape: Sequence[int],
    dtype: Any,
    bind: Callable[..., Any],
    place: int = 0,
) -> Known:
    """Return a constant that a primitive makes of constants.

    Args:
        name: the primitive's.
        params: its parameters.
        inputs: what it reads.
        shape: of what it makes.
        dtype: its type.
        bind: makes it.
        place: which of its results it is.
    """

    def make() -> npt.NDArray[Any]:
        if math.prod(shape) > MOST:
            raise ReplayError(f"a constant tensor of more than {MOST:,} elements")
        try:
            given = [values(one) for one in inputs]
            found = folded(name, params, given, dtype, place)
            if found is not None:
                return found
            found = bind(*given, **params)
            found = found[place] if isinstance(found, (tuple, list)) else found
        except ReplayError:
            raise
        except Exception as error:  # whatever JAX raises on what stands for a key, say
            raise ReplayError(f"a constant tensor that {first_line(error)}") from error
        return np.asarray(found) if is_number(found.dtype) else found

    keeps = name in (
        "mul",
        "concatenate",
        "reshape",
        "broadcast_in_dim",
        "transpose",
        "slice",
        "convert_element_type",
        "squeeze",
        "expand_dims",
        "stop_gradient",
    )
    wave = name in WAVES or (keeps and any(one.wave for one in inputs))
    several = sum(math.prod(one.shape) > 1 for one in inputs)
    ordered = (name in ORDERS and several == 2) or any(one.ordered for one in inputs)
    drawn = name in DRAWS or any(one.drawn for one in inputs)
    state = any(one.state for one in inputs)
    return Known(make, tuple(shape), is_float(dtype), wave, ordered, drawn, state)


def values(known: Known) -> npt.NDArray[Any]:
    """Return what a constant holds, computed once.

    Raises:
        ReplayError: if that is not known, or too much; the message says which.
    """
    if not known.kept:
        try:
            known.kept.append(known.make())
        except ReplayError as error:
            known.kept.append(error)
    if isinstance(found := known.kept[0], ReplayError):
        raise found
    result: npt.NDArray[Any] = found
    return result


def number(known: Known) -> Array | None:
    """Return the one number that all elements of a constant are, without axes; None if they differ.

    Raises:
        ReplayError: if the values are not known.
    """
    if known.wave and math.prod(known.shape) <= 1:
        return None  # of one place alone
    found = values(known).reshape(-1)
    if not found.size or bool((found != found[0]).any()):
        return None
    if not known.floats:
        return np.asarray(found[0])
    return np.asarray(shortest(float(found[0])), np.float64)


def one_number(known: Known) -> float | None:
    """Return the number that all elements of a constant are; None if they differ or are not known."""
    try:
        found = number(known)
    except ReplayError:  # whoever reads it records why
        return None
    return None if found is None or found.dtype.kind == "c" else float(found)


def sampled(known: Known) -> Array:
    """Return some values of a constant, at equal steps.

    Raises:
        ReplayError: if they are not known, or none are real.
    """
    flat = values(known).reshape(-1)
    if not flat.size or flat.dtype.kind == "c":
        raise ReplayError("a constant tensor without real values")
    if flat.size >= 2 * SAMPLED:
        flat = flat[places(flat.size)]
    found: Array = flat.astype(np.float64) if known.floats else flat
    return found


def moments(known: Known) -> tuple[float, float] | None:
    """Return the mean and the second moment of a constant; None if they are not known."""
    if known.wave:
        return 0.0, 0.5
    try:
        found = values(known)
    except ReplayError:  # whoever reads it records why
        return None
    if not found.size or found.dtype.kind == "c":
        return None
    real = found.astype(np.float64)
    if not np.isfinite(real).all():
        return None
    return float(real.mean()), float(np.square(real).mean())


def alike(known: Known) -> float:
    """Return the mean product of two rows of a constant; mean² where that is not known."""
    found = moments(known)
    mean = found[0] if found else 0.0
    if len(known.shape) < 2:
        return mean**2
    try:
        return rows_alike(values(known).astype(np.float64))
    except ReplayError:  # whoever reads it records why
        return mean**2


def detail_of(name: str, constants: Sequence[Known]) -> Detail:
    """Return what constants say of a sum or product with a signal.

    Args:
        name: the operation's.
        constants: what it reads beside the signal.
    """
    if not constants:
        return Detail()
    causal = any(is_causal(one) for one in constants)
    left = 1.0 if causal or name not in SUMS else share_left(above(constants[0]))
    rows = alike(constants[0]) if name in SUMS and not causal else 0.0
    return Detail(constant=moments(constants[0]), alike=rows, causal=causal, left=left)


def is_causal(known: Known) -> bool:
    """Return whether a constant is a mask that looks back only."""
    if len(known.shape) < 2 or known.shape[-1] < 2:
        return False
    if known.ordered:
        return True
    mask = above(known)
    if mask is None or mask.shape[-1] != mask.shape[-2]:
        return False
    first = mask.reshape(-1, *mask.shape[-2:])[0]
    before = np.tri(len(first), dtype=bool)
    return bool(np.array_equal(first, before) or np.array_equal(~first, before))


def above(known: Known) -> npt.NDArray[np.bool_] | None:
    """Return where a mask hides nothing; None of what is no mask."""
    if len(known.shape) < 2 or known.drawn:
        return None
    try:
        found = values(known)
    except ReplayError:  # whoever replays the operation says why
        return None
    shown = found if found.dtype == bool else found > HIDES
    return None if bool(np.all(shown)) else np.asarray(shown, bool)


def share_left(shown: npt.NDArray[np.bool_] | None) -> float:
    """Return the share of places along the last axis that a mask leaves; 1 without one.

    It is the harmonic mean over rows, since the squares of n even weights sum to 1/n.
    """
    if shown is None:
        return 1.0
    rows = shown.mean(-1)
    rows = rows[rows > 0]
    return float(1 / (1 / rows).mean()) if rows.size else 1.0
