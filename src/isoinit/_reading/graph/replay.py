"""Recorded operations, run again on arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoinit._reading.graph.ops import Array, Op, Replay


def run_ops(ops: Sequence[Op], arrays: dict[int, Array]) -> dict[int, Array]:
    """Run operations on arrays by the number of their value; the results are added to them."""
    for op in ops:
        made = op.apply([arrays[value] for value in op.inputs])
        arrays.update(dict.fromkeys(op.outputs, made))
    return arrays


def elementwise(
    function: Replay,
    rows: Sequence[Array],
    parts: Sequence[slice],
    *,
    rtol: float,
    atol: float,
) -> Array | None:
    """Return what a function makes of rows of numbers; None if it is not elementwise.

    Elementwise means that a part of the rows gives that part of the result: a softmax, whose result
    has the right shape, does not pass.

    Args:
        function: from arrays to an array.
        rows: one row of numbers for each input, all of one length.
        parts: the parts of the rows to try. The first part alone would let a cumulative sum pass.
        rtol: relative tolerance of the comparison.
        atol: absolute tolerance.
    """
    try:
        whole = function(rows)
        tried = [(whole[part], function([row[part] for row in rows])) for part in parts]
    except Exception:  # it refuses a plain row of numbers
        return None
    if whole.shape != rows[0].shape or any(made.shape != same.shape for same, made in tried):
        return None
    alike = (np.allclose(*pair, rtol=rtol, atol=atol, equal_nan=True) for pair in tried)
    return whole if all(alike) else None
