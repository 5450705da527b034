"""The two parameters of a weight under weight normalization."""

import numpy as np
import pytest
import torch

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import (
    Directions,
    HeNormal,
    Initializer,
    Norms,
    Orthogonal,
    Sparse,
    Uniform,
    Zeros,
    bare,
)
from isoinit.initializers.norms import vanishing_rows
from isoinit.initializers.scale import fans

SHAPE = (12, 5, 3)
LAYOUT = fans.conv(SHAPE)


def norm_shape(axis):
    return tuple(n if i == axis else 1 for i, n in enumerate(SHAPE))


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize(
    "base", [HeNormal(), Orthogonal(), Uniform(-1.0, 2.0), Sparse(0.2)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_norms_are_those_of_what_the_other_parameter_gets(axis, base, dtype):
    array = np.dtype({torch.float32: "f4", torch.float64: "f8", torch.bfloat16: "u2"}[dtype])
    drawn = np.empty(np.prod(SHAPE), array)
    base.fill_piece(drawn, Stream(3, "v"), LAYOUT, Piece.whole(SHAPE))
    found = np.empty(1 if axis is None else SHAPE[axis], array)
    layout = fans.vector(norm_shape(axis))
    Norms(base, "v", LAYOUT, axis).fill(found, Stream(3, "g"), layout)
    v, g = (
        torch.from_numpy(a.view("i2") if dtype == torch.bfloat16 else a) for a in (drawn, found)
    )
    v, g = v.view(dtype).reshape(SHAPE), g.view(dtype)
    expected = torch.norm_except_dim(v.double(), 2, -1 if axis is None else axis)
    torch.testing.assert_close(
        g, expected.to(dtype).flatten(), rtol=8 * torch.finfo(dtype).eps, atol=0
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_any_part_is_a_part_of_the_whole(axis):
    norms, layout = Norms(HeNormal(), "v", LAYOUT, axis), fans.vector(norm_shape(axis))
    whole, part = np.empty(SHAPE[axis], np.float32), np.empty(2, np.float32)
    norms.fill(whole, Stream(0, "g"), layout)
    slices = [slice(None)] * axis + [slice(2, 4)]
    norms.fill_piece(part, Stream(0, "g"), layout, Piece.of(layout.shape, slices))
    np.testing.assert_array_equal(part, whole[2:4])


def test_mean_and_spread_of_the_norms():
    norms = Norms(HeNormal(), "v", fans.linear((4000, 50)))
    layout, found = fans.vector((4000, 1)), np.empty(4000, np.float32)
    norms.fill(found, Stream(0, "g"), layout)
    # E‖v‖² = 50·2/50, Var‖v‖ ≈ σ²/2; of 4,000 norms five standard errors are 0.9 % and 5.6 %
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(norms.mean_for(layout), rel=0.01)
    assert found.std() == pytest.approx(norms.std_for(layout), rel=0.06)


def test_a_row_that_is_padding_has_no_length():
    layout = fans.embedding((6, 4), padding=2)
    found = np.empty(6, np.float32)
    Norms(HeNormal(), "v", layout).fill(found, Stream(0, "g"), fans.vector((6, 1)))
    assert (found == 0).tolist() == [False, False, True, False, False, False]


def test_directions_have_no_rows_of_zeros():
    layout, out = fans.linear((3, 4)), np.empty(12, np.float32)
    directions = Directions(Zeros())
    assert directions.std_for(layout) == 0
    assert directions.is_constant
    directions.fill(out, Stream(0, "v"), layout)
    assert out.reshape(3, 4).any(1).all()
    assert vanishing_rows(Zeros(), layout, 0)
    assert not vanishing_rows(HeNormal(), layout, 0)
    assert bare(directions) == Zeros()


def test_saved_and_read_back():
    norms = Norms(HeNormal(gain=2.0), "v", LAYOUT, None)
    assert Initializer.from_dict(norms.to_dict()) == norms
    assert str(norms) == "Norms(HeNormal(gain=2))"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="axis"):
        Norms(HeNormal(), "v", LAYOUT, 3)
    with pytest.raises(ArgumentError, match="12 norms"):
        Norms(HeNormal(), "v", LAYOUT).std_for(fans.vector((5,)))
    with pytest.raises(ArgumentError, match=r"layout: the field .* is missing"):
        Initializer.from_dict({**Norms(HeNormal(), "v", LAYOUT).to_dict(), "layout": {"grid": [1]}})
