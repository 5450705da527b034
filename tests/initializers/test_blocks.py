"""Blocks: each is filled as a parameter of its own name would be."""

import numpy as np
import pytest

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import Blocks, HeNormal, Initializer, Orthogonal, Zeros
from isoinit.initializers.scale import fans

LAYOUTS = (fans.linear((18, 10)), fans.linear((6, 10)))
WHOLE = fans.linear((24, 10))
PARTS = (HeNormal(), Orthogonal())
BLOCKS = Blocks(0, PARTS, LAYOUTS)


def filled(initializer, layout, piece=None, name="w", dtype=np.float32):
    piece = piece or Piece.whole(layout.shape)
    out = np.empty(int(np.prod(piece.held)), dtype)
    initializer.fill_piece(out, Stream(5, name), layout, piece)
    return out.reshape(piece.held)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint16])
def test_each_block_is_a_parameter_of_its_own_name(dtype):
    whole = filled(BLOCKS, WHOLE, dtype=dtype)
    for i, (part, layout) in enumerate(zip(PARTS, LAYOUTS, strict=True)):
        rows = slice(18) if i == 0 else slice(18, None)
        assert np.array_equal(whole[rows], filled(part, layout, name=f"w[{i}]", dtype=dtype))


@pytest.mark.parametrize("rows", [(0, 24), (3, 9), (10, 21), (18, 24), (23, 24)])
@pytest.mark.parametrize("columns", [(0, 10), (4, 7)])
def test_any_part_is_that_of_the_whole(rows, columns):
    some = (slice(*rows), slice(*columns))
    part = filled(BLOCKS, WHOLE, Piece.of((24, 10), some))
    assert np.array_equal(part, filled(BLOCKS, WHOLE)[some])


def test_a_run_of_the_flattened_parameter():
    out = np.empty(77, np.float32)
    BLOCKS.fill_piece(out, Stream(5, "w"), WHOLE, Piece.of((240,), (slice(120, 197),)))
    assert np.array_equal(out, filled(BLOCKS, WHOLE).reshape(-1)[120:197])


def test_along_another_axis():
    sides = Blocks(1, (Zeros(), HeNormal()), (fans.linear((4, 3)), fans.linear((4, 5))))
    whole = filled(sides, fans.linear((4, 8)))
    assert not whole[:, :3].any()
    assert whole[:, 3:].all()


def test_std_is_that_of_all_elements():
    expected = np.sqrt((180 * HeNormal().std_for(LAYOUTS[0]) ** 2 + 60 / 10) / 240)
    assert BLOCKS.std_for(WHOLE) == pytest.approx(expected)


def test_it_survives_plain_data():
    assert Initializer.from_dict(BLOCKS.to_dict()) == BLOCKS


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ArgumentError, match=r"shape \(24, 10\), but the parameter has shape \(10, 24\)"
    ):
        BLOCKS.std_for(fans.linear((10, 24)))
    with pytest.raises(ArgumentError, match="2 initializers and 1 layouts"):
        Blocks(0, PARTS, LAYOUTS[:1])
    with pytest.raises(ArgumentError, match="same shape except along this axis"):
        Blocks(1, PARTS, LAYOUTS)
