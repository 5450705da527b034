"""Orthogonal: a matrix that keeps the length of every signal, not only the mean length.

A product of random Gaussian matrices keeps the average length but stretches some directions and
crushes others, more with every factor; a product of orthogonal matrices is orthogonal. So deep
linear networks learn in a time that does not grow with depth (Saxe et al. 2014), tanh networks
reach dynamical isometry (Pennington et al. 2017; ReLU networks do not), and recurrent networks,
which apply one matrix at every step, neither explode nor forget at once.

Use it for recurrent weights, and for deep tanh or linear stacks. It costs O(n³) where the other
methods cost O(n²).

Where the sides differ, the shorter one is orthonormal. With fan_in ≥ fan_out the rows are
orthonormal, and a unit's variance is kept. With fan_out > fan_in the columns are: the *length* is
kept and spread over more units, so that the variance a unit falls by fan_in/fan_out; a gain of
sqrt(fan_out/fan_in) restores it.

Arithmetic is float64 whatever the parameter's type, and an element of QᵀQ is within 1e-14 of the
identity's before it is rounded to that type. The last bits depend on the processor, as NumPy's
linear algebra does, and may depend on the number of threads (by 1e-16, at odd sizes): in float32,
to which the result is rounded, no difference was seen, but none is excluded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, MapsInitializer, WholeInitializer
from isoinit.initializers.zero import at_centre
from isoinit.random import Stream
from isoinit.scale.fans import Layout

_BLOCK = 64  # reflectors whose triangle is inverted: small, since inverting is slower than products
_PANEL = 128  # columns multiplied at once: two blocks, for larger products
_BATCH = 2**20  # elements of small matrices that are worked on together


@dataclass(frozen=True)
class Orthogonal(MapsInitializer):
    """`gain` times a matrix with orthonormal rows or columns, uniform over all such (Haar).

    Use it for recurrent weights and for deep tanh or linear stacks. Not where time to initialize
    counts, since it costs O(n³), and expect no isometry of a ReLU network from it.

    Each packed block (the gates of an LSTM, packed query, key and value, the groups of a
    convolution) gets a matrix of its own. A convolution's kernel is seen as (out, in·taps), as in
    `torch.nn.init.orthogonal_`; that does not make the convolution an isometry: see
    `DeltaOrthogonal`.

    Source: Saxe et al. 2014, section 3; sampling: Stewart 1980, Mezzadri 2007.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; on filling a vector.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """Gain / sqrt(longer side): the longer side's unit vectors spread over that many."""
        self._require_map(layout)
        _, n_out, n_in, taps = layout.maps_shape
        return self.gain / math.sqrt(max(n_out, n_in * taps))

    def write(self, maps: Array, stream: Stream, layout: Layout) -> None:
        """One Haar matrix a block."""
        stack, n_out, n_in, taps = maps.shape
        # In float64, whatever the type: rounding hides the last bits, which depend on the processor
        # and on the number of threads. Arithmetic in float32 would take half the time, and show them.
        out = maps if maps.dtype == np.float64 else np.empty(maps.shape)
        haar(out.reshape(stack, n_out, n_in * taps), stream, self.gain)
        maps[...] = out


@dataclass(frozen=True)
class DeltaOrthogonal(WholeInitializer):
    """A convolution that is an isometry: zero but for an orthogonal centre tap.

    Use it for deep plain convolutional networks under tanh: 10,000 layers have been trained so. It
    needs at least as many outputs as inputs. Not where the kernel shall look at neighbours from the
    first step on: all of them start at zero.

    Source: Xiao et al. 2018, algorithm 1.

    Raises:
        ArgumentError: unless `gain` is finite and above 0; if the layout is not a convolution or has
            fewer outputs than inputs.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._require("gain", low=0, above=True)

    def std_for(self, layout: Layout) -> float:
        """The root mean square of the elements, most of which are zero."""
        _, n_out, n_in, taps = layout.maps_shape
        if not layout.taps:
            raise ArgumentError(
                f"DeltaOrthogonal needs a convolution's kernel, found shape {layout.shape}; for a "
                "matrix use Orthogonal()"
            )
        if n_out < n_in:
            raise ArgumentError(
                f"DeltaOrthogonal needs at least as many outputs as inputs, found {n_out} outputs and "
                f"{n_in} inputs in shape {layout.shape}; use Orthogonal()"
            )
        return self.gain / math.sqrt(n_out * taps)

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """One Haar matrix a group, at the centre tap."""
        maps = np.empty(layout.maps_shape[:3])
        haar(maps, stream, self.gain)
        return at_centre(maps, layout)


def haar(out: Array, stream: Stream, gain: float = 1.0) -> None:
    """Fill `out`, a stack of matrices, with `gain` times matrices uniform over all semi-orthogonal.

    The Q of a Gaussian matrix's QR is Haar distributed if R's diagonal is made positive (Mezzadri
    2007). Householder's reflectors in that factorization are those of independent Gaussian vectors
    of falling length (Stewart 1980), so the vectors are drawn and multiplied out, and nothing is
    factorized.

    Args:
        out: (stack, rows, columns) of float32 or float64, the type of the arithmetic too.
        stream: the vectors' random numbers: a matrix takes its shorter side times its longer one.
        gain: the length of the shorter side's vectors.
    """
    stack, *sides = out.shape
    k, n = sorted(sides)
    if not out.size:
        return
    together = min(stack, max(1, _BATCH // (k * n)))
    block = min(_BLOCK, 1 << (k - 1).bit_length())
    size, length = (-(-side // block) * block for side in (k, n))
    work = np.zeros((together, size, min(_PANEL, size) + length), out.dtype)
    for first in range(0, stack, together):
        part = out[first : first + together]
        gaussian = part.reshape(-1).view(np.float32)[: part.size]
        stream.normal(gaussian, first * k * n)
        _multiply_reflectors(gaussian.reshape(-1, k, n), part, work[: len(part)], gain)


def _multiply_reflectors(vectors: Array, out: Array, work: Array, gain: float) -> None:
    """Write gain·H₁H₂…H_k·D, the first k columns, where H_j reflects vector j onto axis j.

    Every sum is taken over whole blocks: their number is rounded up, with reflectors that are zero.

    Args:
        vectors: (stack, k, n) Gaussian; of vector j only the elements from j on are used. They may
            lie in the memory of `out`. D holds the signs that make R's diagonal positive.
        out: (stack, n, k), or (stack, k, n) for the transposes; contiguous.
        work: (stack, k, panel + n), k and n rounded up to whole blocks; zeros, or from a call before.
        gain: a factor.
    """
    stack, k, _ = vectors.shape
    size = work.shape[1]
    panels = [slice(at, min(at + _PANEL, size)) for at in range(0, size, _PANEL)]
    # H₁…H_k = I - V S⁻¹ Vᵀ with the reflectors v as columns, |v|² = 2, and S = I + the strictly
    # upper part of VᵀV (compact WY: Schreiber & Van Loan 1989; the closed form of T's inverse:
    # Joffrain et al. 2006). `reflectors` holds Vᵀ, and `solved` V S⁻ᵀ down to row k. Both share
    # memory, for one is zero left of its diagonal and the other right of it: that part of either is
    # left out of all products. Fresh memory is slow.
    reflectors, solved = work[:, :, panels[0].stop :], work[:, :, :size]
    signs = _reflect(vectors, reflectors, panels)
    # R's diagonal is -signs·|v|: columns change sign to make it positive.
    factors = gain * signs[:, :, None]
    for panel in panels:
        above = reflectors[:, : panel.stop, panel].transpose(0, 2, 1)
        np.multiply(above, factors[:, panel], out=solved[:, panel, : panel.stop])
    free = out.reshape(stack, -1)[:, : size * size]  # the vectors are not needed any more
    if free.shape[1] < size * size:
        free = np.empty((stack, size * size), out.dtype)
    products = free.reshape(stack, size, size)
    for panel in panels:
        left, right = (
            reflectors[:, : panel.stop, panel.start :],
            reflectors[:, panel, panel.start :],
        )
        np.matmul(left, right.transpose(0, 2, 1), out=products[:, : panel.stop, panel])
    _divide(solved, products, panels)
    # Vᵀ and (V S⁻ᵀ)ᵀ have the reflectors as rows: the product of either's transpose and the other.
    left, right = reflectors, solved.transpose(0, 2, 1)
    if out.shape[2] != k:
        left, right = right, left
    left, right = left[:, :, : out.shape[1]].transpose(0, 2, 1), right[:, :, : out.shape[2]]
    for panel in panels:
        top, end = panel.start, panel.stop
        np.matmul(left[:, top:end, :end], right[:, :end, top:], out=out[:, top:end, top:])
        np.matmul(left[:, end:, :end], right[:, :end, top:end], out=out[:, end:, top:end])
    _diagonal(out[:, :k, :k])[...] -= gain * signs[:, :k]


def _reflect(vectors: Array, reflectors: Array, panels: list[slice]) -> Array:
    """Write the reflectors of Gaussian vectors, of squared length 2; the signs of the vectors.

    A reflector adds |x| to its leading element with that one's sign, so that nothing cancels.
    """
    _, k, n = vectors.shape
    signs = np.ones(reflectors.shape[:2], reflectors.dtype)
    upper = np.triu(np.ones((_PANEL, _PANEL), reflectors.dtype))
    for panel in panels:
        top, end = panel.start, min(panel.stop, k)
        rows = reflectors[:, top:end, top:n]
        rows[...] = vectors[:, top:end, top:]
        square = rows[:, :, : end - top]
        square *= upper[: end - top, : end - top]
        leading = _diagonal(square)
        length = np.sqrt(np.square(rows).sum(2, dtype=np.float64))
        signs[:, top:end] = np.where(leading < 0, -1, 1)
        scale = 1 / np.sqrt(length * (length + np.abs(leading)))
        leading += signs[:, top:end] * length.astype(rows.dtype)
        rows *= scale.astype(rows.dtype)[:, :, None]
    return signs


def _divide(solved: Array, products: Array, panels: list[slice]) -> None:
    """Multiply the lower triangular `solved` by S⁻ᵀ, S = I + the strictly upper `products`."""
    stack, size, _ = products.shape
    block = min(_BLOCK, size)
    tiles = products.reshape(stack, size // block, block, size // block, block)
    inverses = _inverses(np.einsum("siaib->siab", tiles)).transpose(0, 1, 3, 2)

    def divide(first: int, stop: int) -> None:
        """Columns `first` to `stop`; those from `stop` on are done and subtracted."""
        if stop - first == block:
            columns = solved[:, first:, first:stop]
            columns[...] = columns @ inverses[:, first // block]
            return
        middle = first + (stop - first) // block // 2 * block
        divide(middle, stop)
        for panel in panels:
            rows, end = slice(max(middle, panel.start), panel.stop), min(stop, panel.stop)
            if rows.start < rows.stop:
                known = products[:, first:middle, middle:end].transpose(0, 2, 1)
                solved[:, rows, first:middle] -= solved[:, rows, middle:end] @ known
        divide(first, middle)

    divide(0, size)


def _inverses(triangles: Array) -> Array:
    """Of I + the strictly upper parts, (…, b, b) with b a power of two, from halves of the size.

    The inverse of [[A, B], [0, C]] is [[A⁻¹, -A⁻¹BC⁻¹], [0, C⁻¹]].
    """
    inverses = np.triu(triangles, 1)
    _diagonal(inverses)[...] = 1
    *stacks, size, _ = inverses.shape
    half = 1
    while half < size:
        cut = inverses.reshape(*stacks, size // (2 * half), 2 * half, size // (2 * half), 2 * half)
        pairs = np.einsum("...iaib->...iab", cut)  # a view
        corner = pairs[..., :half, half:]
        if half == 1:  # A and C are 1
            np.negative(corner, out=corner)
        else:
            corner[...] = -pairs[..., :half, :half] @ corner @ pairs[..., half:, half:]
        half *= 2
    return inverses


def _diagonal(matrices: Array) -> Array:
    """The diagonals of a stack of square matrices, as a view that can be written."""
    return np.asarray(np.einsum("...ii->...i", matrices))
