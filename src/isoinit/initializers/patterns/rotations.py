"""Sparse orthogonal matrices: a signed permutation, turned by random Givens rotations.

A rotation of two rows leaves the matrix orthogonal and gives both rows the non-zeros of either. Rounds
of rotations of random pairs so double the non-zeros of a row until there are as many as asked for: an
exactly orthogonal matrix of any density, in the time that its non-zeros take.

Source: exact orthogonal initialization by random Givens rotations, Esguerra Narvaez et al. 2024;
the rounds of disjoint pairs are ours: they keep rows and columns about equally full.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isoinit._drawing.streams import Stream

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


class Entries(NamedTuple):
    """Non-zeros in the order of `row · n + column`, without repetition."""

    places: Whole
    values: Floats


def rotations(stream: Stream, n: int, wanted: int) -> Entries:
    """A random orthogonal matrix (n, n) with about `wanted` non-zeros, n at least.

    The last round turns no more pairs than the number asks for, so that it is met to within one pair.
    Whatever the number, no row or column is empty. All is computed in float64; angles are uniform.
    """
    order = _permutation(stream.child("columns"), n)
    signs = 1.0 - 2.0 * (stream.child("signs").words(0, n) >> np.uint32(31))
    entries = Entries(np.arange(n) * n + order, signs)
    turn = 0
    while len(entries.places) < min(wanted, n * n) and turn < 64 and n > 1:
        pairs = _permutation(stream.child(f"pairs/{turn}"), n)[: n // 2 * 2].reshape(-1, 2)
        angles = _angles(stream.child(f"angles/{turn}"), len(pairs))
        turned = _rotated(entries, n, pairs, angles)
        if len(turned.places) > wanted:
            grown = _counts(turned, n) - _counts(entries, n)
            total = len(entries.places) + np.cumsum(grown[pairs].sum(1))
            some = int(np.searchsorted(total, wanted))
            turned = _rotated(entries, n, pairs[: some + 1], angles[: some + 1])
            entries = turned
            break
        entries, turn = turned, turn + 1
    return entries


def _permutation(stream: Stream, n: int) -> Whole:
    return np.argsort(stream.words(0, n), kind="stable")


def _angles(stream: Stream, count: int) -> Floats:
    """Cosines and sines of uniform angles, (count, 2): directions of normal pairs, without libm."""
    normals = np.empty(2 * count, np.float32)
    stream.normal(normals)
    pairs = normals.astype(np.float64).reshape(count, 2)
    length = np.sqrt((pairs * pairs).sum(1, keepdims=True))
    return np.where(length > 0, pairs / np.where(length > 0, length, 1.0), [[1.0, 0.0]])


def _counts(entries: Entries, n: int) -> Whole:
    return np.bincount(entries.places // n, minlength=n)


def _rotated(entries: Entries, n: int, pairs: Whole, angles: Floats) -> Entries:
    """Rows i and j of each pair become c·i + s·j and c·j - s·i."""
    own, across, partner = np.ones(n), np.zeros(n), np.arange(n)
    own[pairs] = angles[:, :1]
    across[pairs] = angles[:, 1:] * np.array([1.0, -1.0])
    partner[pairs] = pairs[:, ::-1]
    row, column = np.divmod(entries.places, n)
    other = partner[row]
    moved = other != row
    places = np.concatenate([entries.places, (other * n + column)[moved]])
    values = np.concatenate([own[row] * entries.values, (across[other] * entries.values)[moved]])
    order = np.argsort(places, kind="stable")
    places, values = places[order], values[order]
    first = np.flatnonzero(np.diff(places, prepend=-1))
    return Entries(places[first], np.add.reduceat(values, first))
