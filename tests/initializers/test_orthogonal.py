"""Orthogonal: exact orthonormality, the Haar distribution, and the isometry of a convolution.

Seeds are fixed; a correct library fails a check under one seed in a million (p < 1e-6, 4.9
standard errors).
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import ortho_group
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import DeltaOrthogonal, Orthogonal, orthogonal
from isoinit.initializers.scale import fans

MANY = 6000


def haar(stream, stack, rows, columns, dtype=np.float64):
    """`stack` matrices as one array."""
    matrices = np.full((stack, rows, columns), np.nan, dtype)
    orthogonal.haar(matrices, stream)
    return matrices


def assert_orthonormal(matrix, gain=1.0, tolerance=1e-13):
    """The shorter side's vectors have length `gain` and right angles between them."""
    short = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(short, gain**2 * np.eye(len(short)), atol=tolerance)


# ---------------------------------------------------------------- orthonormal


@settings(deadline=None)  # the first large fill of a session loads compiled kernels
@given(rows=st.integers(1, 140), columns=st.integers(1, 140), seed=st.integers(0, 2**63))
def test_haar_is_orthonormal(rows, columns, seed):
    for matrix in haar(Stream(seed, "weight"), 2, rows, columns):
        assert_orthonormal(matrix)


@pytest.mark.parametrize("side", [63, 64, 65, 127, 128, 129, 200])
def test_haar_is_orthonormal_at_the_edges_of_blocks(side):
    assert_orthonormal(haar(Stream(0, "weight"), 1, side, side)[0])
    assert_orthonormal(haar(Stream(0, "weight"), 1, side, side + 7)[0])


@pytest.mark.parametrize(("rows", "columns"), [(50, 50), (513, 700), (700, 513), (1500, 1500)])
def test_single_precision_arithmetic_keeps_its_digits(rows, columns):
    single = haar(Stream(0, "weight"), 1, rows, columns, np.float32)[0].astype(np.float64)
    assert_orthonormal(single, tolerance=1e-6)
    double = haar(Stream(0, "weight"), 1, rows, columns)[0]
    np.testing.assert_allclose(single, double, atol=1e-5)


def test_4096_is_orthonormal():
    """‖QᵀQ - 1‖ within 1e-5 element by element; measured 5e-7."""
    matrix = np.empty((1, 4096, 4096), np.float32)
    orthogonal.haar(matrix, Stream(0, "weight"))
    products = matrix[0].T @ matrix[0]
    products[np.diag_indices(4096)] -= 1
    assert np.abs(products).max() < 1e-5


def test_a_matrix_does_not_depend_on_how_many_are_drawn_with_it():
    seven = haar(Stream(0, "weight"), 7, 65, 40)
    assert np.array_equal(haar(Stream(0, "weight"), 3, 65, 40), seven[:3])


def test_haar_is_the_q_of_its_gaussian():
    """LAPACK's QR reflects the same first column, so Q's first column is that vector's direction."""
    gaussian = np.empty(30 * 20, np.float32)
    Stream(3, "weight").normal(gaussian)
    first = gaussian[:30].astype(np.float64)
    matrix = haar(Stream(3, "weight"), 1, 30, 20)[0]
    np.testing.assert_allclose(matrix[:, 0], first / np.linalg.norm(first), atol=1e-14)


@pytest.mark.parametrize("gain", [1.0, 0.3, math.sqrt(2)])
@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (20, 60), (60, 20), (1, 5), (5, 1)])
def test_gain_and_spread(rows, columns, gain, draw):
    layout = fans.linear((rows, columns))
    matrix = draw(Orthogonal(gain), layout, np.float64)
    assert_orthonormal(matrix, gain)
    # The squares sum to gain²·(shorter side), whatever the draw.
    rms = math.sqrt(np.mean(matrix**2))
    assert Orthogonal(gain).std_for(layout) == pytest.approx(rms, rel=1e-12)


def test_the_spread_of_a_kernel_counts_its_taps(draw):
    """A block is (8, 3·4): 8 orthonormal rows of 12 elements, whose squares have the mean 1/12."""
    layout = fans.conv((16, 3, 2, 2), 2)
    assert np.mean(draw(Orthogonal(), layout, np.float64) ** 2) == pytest.approx(1 / 12)
    assert Orthogonal().std_for(layout) == pytest.approx(12**-0.5)


@pytest.mark.parametrize(("dtype", "epsilon"), [(np.float32, 2**-23), (np.float16, 2**-10)])
def test_single_and_half_precision_only_round(dtype, epsilon, draw):
    matrix = draw(Orthogonal(), fans.linear((50, 50)), dtype).astype(np.float64)
    assert_orthonormal(matrix, tolerance=2 * epsilon)


def stacked(blocks):
    """Blocks one below the other, taps last and flattened into the inputs."""
    return lambda weight: weight.reshape(blocks, len(weight) // blocks, -1)


def outputs_first(weight):
    """(block, in, out, tap) as (block, out, in · tap)."""
    return weight.transpose(0, 2, 1, 3).reshape(2, 3, 12)


BLOCKS = [
    (fans.linear((4 * 12, 12), 4), stacked(4)),  # LSTM
    (fans.linear((3 * 12, 8), 3), stacked(3)),  # GRU
    (fans.linear((8, 24), 3, transposed=True), lambda w: w.reshape(8, 3, 8).transpose(1, 2, 0)),
    (fans.conv((12, 3, 2, 2), 2), stacked(2)),
    (fans.conv_transpose((12, 3, 2), 2), lambda w: outputs_first(w.reshape(2, 6, 3, 2))),
    (fans.contraction((5, 6, 7), stack=[0], in_=[1], out=[2]), lambda w: w.transpose(0, 2, 1)),
]


@pytest.mark.parametrize(("layout", "blocks"), BLOCKS)
def test_one_matrix_a_block(layout, blocks, draw):
    matrices = blocks(draw(Orthogonal(), layout, np.float64))
    assert len(matrices) == layout.maps_shape[0]
    for matrix in matrices:
        assert_orthonormal(matrix)
    assert len({matrix.tobytes() for matrix in matrices}) == len(matrices)


# ---------------------------------------------------------------- Haar


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 3), (5, 5), (4, 2), (2, 6)])
def test_every_element_has_the_marginal_of_a_unit_vector(rows, columns):
    """(q + 1)/2 ~ Beta((n-1)/2, (n-1)/2), n the longer side: signs included."""
    matrices = haar(Stream(0, "weight"), MANY, rows, columns)
    shape = (max(rows, columns) - 1) / 2
    for i in (0, rows - 1):
        for j in (0, columns - 1):
            found = stats.kstest((matrices[:, i, j] + 1) / 2, stats.beta(shape, shape).cdf)
            assert found.pvalue > 1e-6


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_half_of_the_determinants_are_negative(n):
    signs = np.linalg.det(haar(Stream(1, "weight"), MANY, n, n))
    np.testing.assert_allclose(np.abs(signs), 1, atol=1e-12)
    assert abs(signs.mean()) < 4.9 / math.sqrt(MANY)


def test_rotations_of_the_plane_and_of_space_turn_by_the_right_angles():
    """SO(2): uniform. SO(3): density (1 - cos θ)/π on [0, π] (Haar measure, Weyl's formula)."""
    plane = haar(Stream(2, "weight"), MANY, 2, 2)
    turns = np.arctan2(plane[:, 1, 0], plane[:, 0, 0])
    assert stats.kstest(turns, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-6
    space = haar(Stream(2, "weight"), MANY, 3, 3)
    rotations = space[np.linalg.det(space) > 0]
    cosines = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    angles = np.arccos(np.clip(cosines, -1, 1))
    assert stats.kstest(angles, lambda t: (t - np.sin(t)) / math.pi).pvalue > 1e-6


@pytest.mark.parametrize("n", [4, 7])
def test_traces_have_the_moments_of_the_orthogonal_group(n):
    """E[tr Q] = 0, E[(tr Q)²] = 1, E[(tr Q)⁴] = 3, E[tr Q²] = 1 (Diaconis & Shahshahani 1994)."""
    matrices = haar(Stream(4, "weight"), MANY, n, n)
    trace = np.trace(matrices, axis1=1, axis2=2)
    square = np.trace(matrices @ matrices, axis1=1, axis2=2)
    for values, expected in [(trace, 0), (trace**2, 1), (trace**4, 3), (square, 1)]:
        assert abs(values.mean() - expected) < 4.9 * values.std() / math.sqrt(MANY)


def test_a_turned_haar_matrix_is_one():
    """Invariance under fixed orthogonal maps from either side."""
    left, right = ortho_group.rvs(5, size=2, random_state=0)
    turned = left @ haar(Stream(5, "weight"), MANY, 5, 5) @ right
    assert stats.kstest((turned[:, 2, 3] + 1) / 2, stats.beta(2, 2).cdf).pvalue > 1e-6


# ---------------------------------------------------------------- convolutions


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [(3,), (4,), (3, 3), (2, 5), (3, 1, 3)])
@pytest.mark.parametrize("outputs", [4, 6])
def test_delta_orthogonal_is_an_isometry(kernel, outputs, groups, draw):
    """Around a circle no signal is lost at an edge: |conv(x)| = |x|, position by position too."""
    layout = fans.conv((outputs, 4 // groups, *kernel), groups)
    weight = torch.from_numpy(draw(DeltaOrthogonal(), layout, np.float64))
    x = torch.randn(3, 4, *[7] * len(kernel), generator=torch.Generator().manual_seed(0)).double()
    edges = [edge for size in reversed(kernel) for edge in (size // 2, (size - 1) // 2)]
    convolve = [nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d][len(kernel) - 1]
    y = convolve(nn.functional.pad(x, edges, mode="circular"), weight, groups=groups)
    assert y.shape[2:] == x.shape[2:]
    torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1))
    rms = weight.square().mean().sqrt().item()
    assert DeltaOrthogonal().std_for(layout) == pytest.approx(rms, rel=1e-12)


def test_delta_orthogonal_transposed(draw):
    layout = fans.conv_transpose((4, 6, 3, 3))
    weight = torch.from_numpy(draw(DeltaOrthogonal(0.5), layout, np.float64))
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    y = nn.functional.conv_transpose2d(x, weight, padding=1)
    torch.testing.assert_close(y.norm(dim=1), 0.5 * x.norm(dim=1))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("kind", [Orthogonal, DeltaOrthogonal])
@pytest.mark.parametrize("gain", [0, -1.0, math.nan, math.inf, "1", None])
def test_bad_gain(kind, gain):
    with pytest.raises(ArgumentError, match=rf"{kind.__name__}\(gain="):
        kind(gain)


@pytest.mark.parametrize(
    ("initializer", "layout", "named"),
    [
        (Orthogonal(), fans.vector((5,)), r"vector of shape \(5,\)"),
        (DeltaOrthogonal(), fans.vector((5,)), r"\(5,\)"),
        (DeltaOrthogonal(), fans.linear((4, 4)), r"Orthogonal\(\)"),
        (DeltaOrthogonal(), fans.conv((3, 4, 3)), "3 outputs and 4 inputs"),
        (DeltaOrthogonal(), fans.conv((4, 4, 3), 2), "2 outputs and 4 inputs"),
    ],
)
def test_layouts_that_do_not_fit(initializer, layout, named, draw):
    with pytest.raises(ArgumentError, match=named):
        draw(initializer, layout)
