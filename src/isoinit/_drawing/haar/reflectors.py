"""The definition of the random orthogonal matrices, in plain NumPy: products of reflectors.

The Q of a Gaussian matrix's QR is uniform over all matrices with orthonormal columns if R's diagonal
is made positive (Mezzadri 2007). Householder's reflectors in that factorization are those of
independent Gaussian vectors of falling length (Stewart 1980), so the vectors are drawn and multiplied
out, and nothing is factorized.

With the reflectors v as the columns of V, |v|² = 2, the product H₁H₂…H_k is I - V S⁻¹ Vᵀ, where S is
the upper triangle of VᵀV with its diagonal halved (compact WY: Schreiber & Van Loan 1989; this form:
Joffrain et al. 2006). Three products and a triangular solve: 4/3 n³ operations for a square matrix,
half of what factorizing takes.

Every sum has a fixed order, so that the bits depend neither on the processor nor on the threads, as
those of a BLAS do. An element of a product is summed over runs of 64 terms: from zero, by fused
multiply-adds in float32 (in float64 by a product and a sum), and the runs are added one after
another. Short runs also keep the error of the sums small. Matrices are cut into tiles of 16 × 16,
as the registers of a processor hold them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams.philox import fma32

Array = npt.NDArray[Any]

TILE: Final = 16
RUN: Final = 64


def multiply_out(normals: Array, out: Array, gain: float) -> None:
    """Write gain·H₁H₂…H_k·D, the first k columns, where H_j reflects vector j onto axis j.

    D holds the signs that make R's diagonal positive.

    Args:
        normals: (stack, k, n) of float32; of vector j only the elements from j on are used. They may
            lie in the memory of `out`.
        out: (stack, n, k), or (stack, k, n) for the transposes; float32 or float64.
        gain: a factor.
    """
    _, k, n = normals.shape
    v, signs, halves = _reflect(normals, out.dtype)
    size = v.shape[2]
    gram = np.zeros((len(v), size, size), out.dtype)
    _add_product(gram, v.swapaxes(1, 2), v, 0, n)
    solved = _solve(gram, halves, v[:, :size].swapaxes(1, 2).copy())
    product = np.zeros((len(v), n, size), out.dtype)
    factors = signs * out.dtype.type(gain)
    _add_product(product, v[:, :n], solved * factors[:, None], 0, size)
    matrices = product[:, :, :k]
    matrices[:, np.arange(k), np.arange(k)] -= factors[:, :k]  # R's diagonal is -s, and so is D
    out[:] = matrices if out.shape[1:] == (n, k) else matrices.swapaxes(1, 2)


def _reflect(normals: Array, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """The reflectors as columns, the signs of the vectors, and half of each reflector's square.

    A reflector adds |x| to its leading element with that one's sign, so that nothing cancels.
    Columns are filled up with zeros to whole tiles, of sign 1 and half a square of 1.
    """
    stack, k, n = normals.shape
    size = -(-k // TILE) * TILE
    v = np.zeros((stack, max(n, size), size), dtype)
    signs, halves = np.ones((stack, size), dtype), np.ones((stack, size), dtype)
    for j in range(k):
        x = normals[:, j, j:].astype(dtype)
        length, leading = np.sqrt(_squares(x)), x[:, 0].astype(np.float64)
        signs[:, j] = np.where(leading < 0, -1, 1)
        scale = 1 / np.sqrt(length * (length + np.abs(leading)))
        x[:, 0] += signs[:, j] * length.astype(dtype)
        x *= scale.astype(dtype)[:, None]
        halves[:, j] = 0.5 * _squares(x)
        v[:, j:n, j] = x
    return v, signs, halves


def _squares(vectors: Array) -> Array:
    """Each vector's sum of squares in float64: 16 sums side by side, then one over them."""
    stack, size = vectors.shape
    padded = np.zeros((stack, -(-size // TILE), TILE))
    padded.reshape(stack, -1)[:, :size] = vectors
    # A cumulative sum has but one order.
    lanes = np.cumsum(padded * padded, axis=1)[:, -1]
    total: Array = np.cumsum(lanes, axis=1)[:, -1]
    return total


def _add_product(out: Array, a: Array, b: Array, first: int, last: int) -> None:
    """``out += a @ b`` over the terms `first` to `last`; runs begin at the multiples of RUN."""
    for start in range(first // RUN * RUN, last, RUN):
        run = np.zeros_like(out)
        for t in range(max(start, first), min(start + RUN, last)):
            left, right = a[:, :, t, None], b[:, None, t, :]
            run = fma32(left, right, run) if run.dtype == np.float32 else left * right + run
        out += run


def _solve(gram: Array, halves: Array, x: Array) -> Array:
    """S⁻¹x, S being the upper triangle of `gram` with the diagonal `halves`; changes `x`.

    Row tile by row tile from the last one up; of the terms below a tile, those beyond its own run
    come first.
    """
    size = len(x[0])
    for top in reversed(range(0, size, TILE)):
        end, run = top + TILE, min((top // RUN + 1) * RUN, size)
        rows = x[:, top:end]
        above = -gram[:, top:end]
        _add_product(rows, above, x, run, size)
        _add_product(rows, above, x, end, run)
        known = rows.copy()
        rows[:] = 0
        inverse = _inverse(gram[:, top:end, top:end], halves[:, top:end])
        _add_product(rows, inverse, known, 0, TILE)
    return x


def _inverse(upper: Array, diagonal: Array) -> Array:
    """The inverse of an upper triangular tile, column by column from the bottom up."""
    inverse = np.zeros_like(upper)
    for column in range(TILE):
        for i in range(column, -1, -1):
            value = np.full(len(upper), float(i == column), upper.dtype)
            for j in range(i + 1, column + 1):
                value = value - upper[:, i, j] * inverse[:, j, column]
            inverse[:, i, column] = value / diagonal[:, i]
    return inverse
