"""Centred: rows that sum to zero, exact orthonormality, the uniform distribution, any part.

Seeds are fixed; a correct library fails a statistical check under one seed in a million (p < 1e-6).
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import isoinit
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import Centred
from isoinit.initializers.scale import fans

MANY = 6000


def away(n):
    """The projection on what sums to zero."""
    return np.eye(n) - 1 / n


@pytest.mark.parametrize(("rows", "columns"), [(40, 41), (20, 60), (1, 2), (7, 300), (130, 170)])
def test_rows_are_orthonormal_and_sum_to_zero(rows, columns, draw):
    matrix = draw(Centred(0.7), fans.linear((rows, columns)), np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, 0.49 * np.eye(rows), atol=1e-13)
    np.testing.assert_allclose(matrix.sum(1), 0, atol=1e-13)


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (60, 20), (5, 2)])
def test_more_rows_than_free_directions_keep_the_length_of_what_is_centred(rows, columns, draw):
    matrix = draw(Centred(0.7), fans.linear((rows, columns)), np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, 0.49 * away(columns), atol=1e-13)


@pytest.mark.parametrize("taps", ["all", "centre"])
@pytest.mark.parametrize(
    "layout",
    [
        fans.linear((30, 30)),
        fans.linear((60, 20)),
        fans.linear((8, 24), 3, transposed=True),
        fans.conv((12, 3, 2, 2), 2),
        fans.conv((4, 9, 3)),
        fans.conv_transpose((12, 3, 2), 2),
    ],
)
def test_the_standard_deviation_is_the_root_mean_square(layout, taps, draw):
    initializer = Centred(1.3, taps)
    rms = math.sqrt(np.square(draw(initializer, layout, np.float64)).mean())
    assert initializer.std_for(layout) == pytest.approx(rms, rel=1e-12)


def test_each_tap_of_a_kernel_sums_to_zero_and_the_rows_are_orthonormal(draw):
    kernel = draw(Centred(), fans.conv((12, 5, 3, 3), 2), np.float64)
    np.testing.assert_allclose(kernel.sum(1), 0, atol=1e-14)
    for group in kernel.reshape(2, 6, -1):
        np.testing.assert_allclose(group @ group.T, np.eye(6), atol=1e-13)


def test_the_centre_tap_keeps_the_length_of_what_is_centred_at_every_place(draw):
    layout = fans.conv((6, 4, 3, 3))
    weight = torch.from_numpy(draw(Centred(taps="centre"), layout, np.float64))
    x = torch.randn(2, 4, 7, 7, generator=torch.Generator().manual_seed(0)).double()
    y = nn.functional.conv2d(x + 5.0, weight, padding=1)
    torch.testing.assert_close(y.norm(dim=1), (x - x.mean(1, keepdim=True)).norm(dim=1))


def test_blocks_get_matrices_of_their_own_and_can_be_drawn_alone(draw):
    layout = fans.linear((4 * 12, 12), 4)
    blocks = draw(Centred(), layout, np.float64).reshape(4, 12, 12)
    assert len({block.tobytes() for block in blocks}) == 4
    third = np.empty(144)
    Centred().fill(third, Stream(0, "weight"), layout, 288)
    assert np.array_equal(third.reshape(12, 12), blocks[2])


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (2, 6), (6, 4)])
def test_every_element_has_the_marginal_of_a_unit_vector_of_the_free_directions(rows, columns):
    """|P e_j|·q, P the projection: (q + 1)/2 ~ Beta((n-1)/2, (n-1)/2), n the longer free side."""
    maps = np.empty((MANY, rows, columns, 1))
    Centred().write(maps, Stream(0, "weight"), fans.linear((rows, columns)))
    length = math.sqrt(1 - 1 / columns)
    shape = (max(rows, columns - 1) - 1) / 2
    for j in (0, 1, columns - 1):
        unit = (maps[:, rows - 1, j, 0] / length + 1) / 2
        assert stats.kstest(unit, stats.beta(shape, shape).cdf).pvalue > 1e-6


@pytest.mark.parametrize(("dtype", "epsilon"), [(np.float32, 2**-22), (np.float16, 2**-10)])
def test_single_and_half_precision_only_round(dtype, epsilon, draw):
    short = draw(Centred(), fans.linear((50, 60)), dtype).astype(np.float64)
    np.testing.assert_allclose(
        short, draw(Centred(), fans.linear((50, 60)), np.float64), atol=epsilon
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_part_has_the_bits_of_the_whole(dtype):
    layout, part = fans.conv((12, 3, 2, 2), 2), (slice(3, 11), slice(1, 3))
    whole, some = torch.empty(12, 3, 2, 2, dtype=dtype), torch.empty(8, 2, 2, 2, dtype=dtype)
    for out, where in [(whole, ()), (some, part)]:
        isoinit.fill_slice(out, Centred(), "w", (12, 3, 2, 2), where, 7, layout=layout)
    assert torch.equal(some, whole[part])


@pytest.mark.parametrize("gain", [0, -1.0, math.nan, math.inf, "1", None])
def test_bad_gain(gain):
    with pytest.raises(ArgumentError, match=r"Centred\(gain="):
        Centred(gain)


def test_what_does_not_fit_is_refused(draw):
    with pytest.raises(ArgumentError, match="expected one of all, centre"):
        Centred(taps="one")
    with pytest.raises(ArgumentError, match="vector"):
        draw(Centred(), fans.vector((5,)))
    with pytest.raises(ArgumentError, match=r"found 1 in shape \(5, 1\).*Orthogonal"):
        draw(Centred(), fans.linear((5, 1)))
