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

Products are computed in float64 and rounded to the parameter's type. The last bits of a float64
parameter may depend on the processor and the number of threads, as NumPy's linear algebra does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoinit.errors import ArgumentError
from isoinit.initializers.base import Array, WholeInitializer
from isoinit.initializers.zero import at_centre
from isoinit.random import Stream
from isoinit.scale.fans import Layout

_BLOCK = 64  # reflectors multiplied out together: enough for matrix products to dominate


@dataclass(frozen=True)
class Orthogonal(WholeInitializer):
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

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """One Haar matrix a block."""
        stack, n_out, n_in, taps = layout.maps_shape
        maps = haar(stream, stack, n_out, n_in * taps)
        return layout.from_maps((self.gain * maps).reshape(stack, n_out, n_in, taps))


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
        stack, n_out, n_in, _ = layout.maps_shape
        return at_centre(self.gain * haar(stream, stack, n_out, n_in), layout)


def haar(stream: Stream, stack: int, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """`stack` semi-orthogonal matrices (rows, columns), each uniform over all such matrices.

    The Q of a Gaussian matrix's QR is Haar distributed if R's diagonal is made positive (Mezzadri
    2007). Householder's reflectors in that factorization are those of independent Gaussian vectors
    of falling length (Stewart 1980), so the vectors are drawn and multiplied out, and nothing is
    factorized.
    """
    tall, wide = max(rows, columns), min(rows, columns)
    gaussian = np.empty(stack * tall * wide, np.float32)
    stream.normal(gaussian)
    columns_first = gaussian.reshape(stack, wide, tall).astype(np.float64)
    matrices = np.stack([_multiply_reflectors(vectors) for vectors in columns_first])
    return matrices if rows >= columns else matrices.transpose(0, 2, 1)


def _multiply_reflectors(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The first columns of H₁H₂…H_k·D, where H_j reflects the j-th vector onto the j-th axis.

    Args:
        vectors: (k, n) Gaussian; of the j-th only the elements from j on are used.

    Returns:
        (n, k) with orthonormal columns.
    """
    k, n = vectors.shape
    v = np.triu(vectors).T  # (n, k), lower trapezoidal
    diagonal = np.diagonal(v).copy()
    signs = np.where(diagonal < 0, -1.0, 1.0)
    np.fill_diagonal(v, diagonal + signs * np.sqrt(np.square(v).sum(0)))
    q = np.eye(n, k)
    # H₁…H_b = I - V S⁻¹ Vᵀ with S = strictly upper VᵀV + half its diagonal (compact WY: Schreiber &
    # Van Loan 1989; the closed form of T's inverse: Joffrain et al. 2006). Blocks go from the last
    # to the first, so that each touches only the part of q that is not the identity yet.
    for left in reversed(range(0, k, _BLOCK)):
        block = v[left:, left : left + _BLOCK]
        products = block.T @ block
        s = np.triu(products, 1) + np.diag(np.diagonal(products) / 2)
        part = q[left:, left:]
        part -= block @ np.linalg.solve(s, block.T @ part)
    # R's diagonal is -signs·|v|: columns change sign to make it positive.
    return q * -signs
