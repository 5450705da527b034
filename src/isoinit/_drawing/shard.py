"""Which elements of a whole tensor one process holds.

However a tensor is sharded, a process holds some spans of indices along each axis, one behind another,
and its shard is the product of them. A part of a flattened tensor is that of a tensor with one axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit.errors import ArgumentError

Array = npt.NDArray[Any]
Spans = tuple[tuple[int, int], ...]

_BATCH = 2**18  # runs that are worked out at once


@dataclass(frozen=True)
class Piece:
    """A part of a tensor.

    Attributes:
        shape: of the whole tensor.
        spans: for each axis the spans (first, last + 1) of indices that are held, in the order in
            which they are stored.

    Example:
        >>> rows = Piece.whole((6, 4)).shard(0, parts=2, index=1)
        >>> rows.spans, rows.held
        ((((3, 6),), ((0, 4),)), (3, 4))
    """

    shape: tuple[int, ...]
    spans: tuple[Spans, ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Piece:
        """Return all of a tensor."""
        return cls(tuple(shape), tuple(((0, size),) for size in shape))

    @classmethod
    def of(cls, shape: Sequence[int], slices: Sequence[slice]) -> Piece:
        """Return what `tensor[slices]` is of a tensor of this shape; axes without a slice are whole.

        Raises:
            ArgumentError: for more slices than axes, something else than a slice, or a step.
        """
        shape = tuple(shape)
        if len(slices) > len(shape):
            raise ArgumentError(f"slices: {len(slices)} for a tensor of shape {shape}")
        spans: list[Spans] = []
        for axis, size in enumerate(shape):
            one = slices[axis] if axis < len(slices) else slice(None)
            if not isinstance(one, slice) or one.step not in (None, 1):
                raise ArgumentError(
                    f"slices[{axis}]={one!r}: expected a slice without a step, such as slice(0, 8)"
                )
            first, last, _ = one.indices(size)
            spans.append(((first, max(first, last)),))
        return cls(shape, tuple(spans))

    @classmethod
    def run(cls, first: int, count: int) -> Piece:
        """Return some neighbouring elements of a flattened tensor."""
        return cls((first + count,), (((first, first + count),),))

    @property
    def held(self) -> tuple[int, ...]:
        """The shape of the part."""
        return tuple(sum(last - first for first, last in spans) for spans in self.spans)

    def shard(self, axis: int, parts: int, index: int) -> Piece:
        """Return one of `parts` parts along an axis, as `torch.chunk` cuts: the last may be short.

        A part of a part is cut from what that one holds.
        """
        return self._with(axis, _chunk(self.spans[axis], parts, index))

    def strided_shard(self, axis: int, parts: int, index: int, factor: int) -> Piece:
        """Return of each of `factor` chunks one of `parts` parts, one behind another.

        So lies what is sharded along one axis by a later dimension of a mesh and then by an earlier
        one: tensor parallel first, then fully sharded.
        """
        spans = self.spans[axis]
        chunks = (_chunk(_chunk(spans, factor, n), parts, index) for n in range(factor))
        return self._with(axis, tuple(span for chunk in chunks for span in chunk))

    def _with(self, axis: int, spans: Spans) -> Piece:
        joined: list[tuple[int, int]] = []
        for first, last in spans:
            if joined and joined[-1][1] == first:
                joined[-1] = joined[-1][0], last
            elif first < last:
                joined.append((first, last))
        kept = tuple(joined) or ((0, 0),)
        return replace(self, spans=(*self.spans[:axis], kept, *self.spans[axis + 1 :]))

    def runs(self) -> Iterator[tuple[Array, Array]]:
        """Give runs of neighbouring elements of the whole, in the order in which they are stored.

        Yields:
            Where runs start in the flat whole tensor, and their lengths, both int64; a part of them at
            a time, so that they take no memory to speak of.
        """
        if 0 in self.held:
            return
        cut = [n for n, size in enumerate(self.shape) if self.spans[n] != ((0, size),)]
        axis = max(cut, default=0)
        inner = math.prod(self.shape[axis + 1 :])
        spans = np.array(self.spans[axis] if self.shape else [(0, 1)], np.int64) * inner
        firsts, lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
        outer = self.held[:axis]
        strides = [math.prod(self.shape[n + 1 :]) for n in range(axis)]
        places = [
            np.concatenate([np.arange(*span) for span in self.spans[n]]) * strides[n]
            for n in range(axis)
        ]
        count, batch = math.prod(outer), max(1, _BATCH // len(spans))
        for begin in range(0, count, batch):
            which = np.unravel_index(np.arange(begin, min(begin + batch, count)), outer or (1,))
            starts = sum(p[w] for p, w in zip(places, which, strict=False)) + np.zeros(
                len(which[0]), np.int64
            )
            yield (starts[:, None] + firsts).reshape(-1), np.tile(lengths, len(starts))

    def bands(self, size: int) -> Iterator[Piece]:
        """Cut the part across its first axis, each band of no more than `size` elements in its `rows`.

        One index of the first axis is the least.
        """
        step = max(1, size // max(math.prod(self.shape[1:]), 1))
        for first, last in self.spans[0]:
            for begin in range(first, last, step):
                band = ((begin, min(begin + step, last)),)
                yield replace(self, spans=(band, *self.spans[1:]))

    @property
    def rows(self) -> tuple[int, int]:
        """From which row of the first axis to which the part reaches, as flat elements."""
        if not self.shape:
            return 0, 1
        row = math.prod(self.shape[1:])
        return (
            min(first for first, _ in self.spans[0]) * row,
            max(last for _, last in self.spans[0]) * row,
        )

    def take(self, rows: Any, out: Any) -> None:
        """Copy the part into `out`, of the shape `held`, from the flat elements that `rows` names.

        Both are arrays, or both tensors.
        """
        if not self.shape:
            out[...] = rows.reshape(())
            return
        row = math.prod(self.shape[1:])
        above = self.rows[0] // row if row else 0
        lines = rows.reshape(-1, *self.shape[1:])
        ends = [list(accumulate((b - a for a, b in spans), initial=0)) for spans in self.spans]
        for which in product(*(range(len(spans)) for spans in self.spans)):
            source, to = [], []
            for axis, n in enumerate(which):
                first, last = self.spans[axis][n]
                shift = above if axis == 0 else 0
                source.append(slice(first - shift, last - shift))
                to.append(slice(ends[axis][n], ends[axis][n + 1]))
            out[tuple(to)] = lines[tuple(source)]

    def within(self, first: int, last: int) -> Iterator[slice]:
        """Give where in the flat part the elements `first` to `last` of the flat whole lie."""
        done = 0
        for starts, lengths in self.runs():
            begins = done + np.cumsum(lengths) - lengths
            low, high = np.maximum(starts, first), np.minimum(starts + lengths, last)
            for n in np.flatnonzero(low < high):
                shift = int(begins[n] - starts[n])
                yield slice(int(low[n]) + shift, int(high[n]) + shift)
            done += int(lengths.sum())


def _chunk(spans: Spans, parts: int, index: int) -> Spans:
    """Return chunk `index` of some spans of indices."""
    size = sum(last - first for first, last in spans)
    step = -(-size // parts)
    begin, end = min(index * step, size), min((index + 1) * step, size)
    kept, before = [], 0
    for first, last in spans:
        low, high = max(begin - before, 0), min(end - before, last - first)
        if low < high:
            kept.append((first + low, first + high))
        before += last - first
    return tuple(kept)
