"""A piece of a tensor is what NumPy cuts out of it."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isoinit._drawing.shard import Piece
from isoinit._writing.fill import draw_piece
from isoinit.errors import ArgumentError


def chunk(array, axis, parts, index):
    """As `torch.chunk` cuts; an index beyond the last chunk gets nothing."""
    step = -(-array.shape[axis] // parts)
    begin, end = (min(n * step, array.shape[axis]) for n in (index, index + 1))
    return array.take(range(begin, end), axis)


@st.composite
def pieces(draw):
    """A piece, and the flat indices of its elements in the whole."""
    shape = tuple(draw(st.lists(st.integers(1, 13), min_size=1, max_size=3)))
    piece, elements = Piece.whole(shape), np.arange(np.prod(shape)).reshape(shape)
    for _ in range(draw(st.integers(0, 3))):
        axis = draw(st.integers(0, len(shape) - 1))
        parts = draw(st.integers(1, 5))
        index = draw(st.integers(0, parts - 1))
        if draw(st.booleans()):
            piece, elements = piece.shard(axis, parts, index), chunk(elements, axis, parts, index)
        else:
            factor = draw(st.integers(1, 4))
            piece = piece.strided_shard(axis, parts, index, factor)
            chunks = [chunk(elements, axis, factor, n) for n in range(factor)]
            cut = [chunk(c, axis, parts, index) for c in chunks]
            elements = np.concatenate(cut, axis)
    return piece, elements


def flat(piece):
    batches = [zip(*batch, strict=True) for batch in piece.runs()]
    runs = [np.arange(first, first + size) for batch in batches for first, size in batch]
    return np.concatenate(runs) if runs else np.empty(0, int)


@given(pieces())
def test_runs_and_shape(both):
    piece, elements = both
    assert piece.held == elements.shape
    assert np.array_equal(flat(piece), elements.reshape(-1))


@given(pieces())
def test_take(both):
    piece, elements = both
    if elements.size:
        first, last = piece.rows
        out = np.empty(piece.held, int)
        piece.take(np.arange(first, last), out)
        assert np.array_equal(out, elements)
        tensor = torch.empty(piece.held, dtype=torch.int64)
        piece.take(torch.arange(first, last), tensor)
        assert np.array_equal(tensor.numpy(), elements)


@given(pieces(), st.integers(0, 2000), st.integers(0, 2000))
def test_within(both, first, last):
    piece, elements = both
    found = np.zeros(elements.size, bool)
    for some in piece.within(first, last):
        found[some] = True
    inside = (elements >= first) & (elements < last)
    assert np.array_equal(found, inside.reshape(-1))


@given(pieces(), st.integers(1, 100))
def test_drawn_by_runs_or_by_rows(both, size):
    """What a device draws of a part: runs in their places, or whole rows to cut the part out of."""
    piece, elements = both

    def draw(out, start):
        out.copy_(torch.arange(start, start + len(out)))

    if elements.size:
        bands = list(piece.bands(size))
        assert sum(band.held[0] for band in bands) == piece.held[0]
        out = torch.empty(piece.held, dtype=torch.int64)
        draw_piece(draw, out, piece)
        assert np.array_equal(out.numpy(), elements)


def test_many_short_runs_are_cut_out_of_rows(monkeypatch):
    monkeypatch.setattr("isoinit._writing.fill._ROWS", 64)
    piece = Piece.whole((600, 10)).shard(1, 3, 1)
    calls = []

    def draw(out, start):
        calls.append(len(out))
        out.copy_(torch.arange(start, start + len(out)))

    out = torch.empty(piece.held, dtype=torch.int64)
    draw_piece(draw, out, piece)
    assert np.array_equal(out.numpy(), np.arange(6000).reshape(600, 10)[:, 4:8])
    assert calls == [60] * 100


def test_runs_come_in_batches(monkeypatch):
    monkeypatch.setattr("isoinit._drawing.shard._BATCH", 7)
    piece = Piece.whole((20, 6)).strided_shard(1, 2, 0, 2)
    batches = list(piece.runs())
    assert len(batches) > 5
    expected = np.arange(120).reshape(20, 6)[:, [0, 1, 3, 4]]
    assert np.array_equal(flat(piece), expected.reshape(-1))


def test_slices():
    piece = Piece.of((6, 4), (slice(1, -1), slice(None, 2)))
    assert np.array_equal(flat(piece), np.arange(24).reshape(6, 4)[1:-1, :2].reshape(-1))
    assert Piece.of((6, 4), (slice(5, 2),)).held == (0, 4)
    assert Piece.of((6, 4), ()) == Piece.whole((6, 4))
    assert Piece.of((), ()).held == ()
    assert flat(Piece.of((), ())).tolist() == [0]


@pytest.mark.parametrize("slices", [(3,), (slice(0, 6, 2),), (slice(None),) * 3])
def test_bad_slices(slices):
    with pytest.raises(ArgumentError, match=re.escape("slices")):
        Piece.of((6, 4), slices)
