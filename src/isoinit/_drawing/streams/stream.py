"""`Stream`: the random numbers of one parameter."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from isoinit._drawing.backend import Backend
from isoinit._drawing.streams import laws, philox
from isoinit._drawing.streams.philox import FIXED, WORDS, Jobs, Law
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_backend: Final = Backend(philox, "isoinit._drawing.streams.threads")


@dataclass(frozen=True)
class Stream:
    """The random numbers of one parameter: element ``e`` is a pure function of stream and ``e``.

    Every ``fill`` method writes elements ``start`` to ``start + out.size`` into ``out``, a writable
    one-dimensional C-contiguous array of float32, float64, float16, or **uint16, which stands for
    the bits of bfloat16**. ``start`` counts in the flat C order of the *whole* parameter, so any
    slice of it, on any machine and any number of threads, gets the same bits.

    float32, float16 and bfloat16 values are drawn and scaled in float32 and rounded once, to
    nearest even. A float64 value is the same float32 standard deviate scaled in float64: a model
    in double precision starts from the weights of its single-precision twin, up to the last
    float32 bit.

    Bounds are exact in the type of ``out``: a value that rounding carries beyond a bound becomes
    the nearest representable value within. That moves at most half a rounding cell, so the last
    value's share is at most one and a half cells however coarse the type, and the mean stays
    unbiased, which rounding toward zero or down would not give.

    Args:
        seed: Any integer, also a negative one.
        name: The parameter's name.
        purpose: What the numbers are for; see `child`.

    >>> weight = np.empty(4, dtype=np.float32)
    >>> Stream(seed=0, name="layer.weight").normal(weight, std=0.02)
    >>> tail = np.empty(2, dtype=np.float32)
    >>> Stream(seed=0, name="layer.weight").normal(tail, start=2, std=0.02)
    >>> bool((weight[2:] == tail).all())
    True
    """

    seed: int
    name: str
    purpose: str = ""

    def child(self, purpose: str) -> Stream:
        """An independent stream for another purpose of the same parameter: a mask, noise.

        Purposes nest like folders: ``child("a").child("b")`` is ``child("a/b")``.
        """
        if not purpose:
            raise ArgumentError("purpose is empty: name what the child stream is for")
        return replace(self, purpose=f"{self.purpose}/{purpose}" if self.purpose else purpose)

    def words(self, start: int, count: int) -> NDArray[np.uint32]:
        """The random words of elements ``start`` to ``start + count``, shape ``(count,)``."""
        _check_range(start, count)
        out = np.empty(count, dtype=np.uint32)
        _run(out, start, self.key(), Law(WORDS, 1.0, 0.0, -math.inf, math.inf))
        return out

    def subsets(self, rows: int, size: int, count: int) -> NDArray[np.uint32]:
        """``count`` different numbers below ``size`` for each row, every set of them as likely.

        Row ``r`` is made of the words of elements ``r * count`` to ``(r + 1) * count``. The order
        within a row is not random. Shape ``(rows, count)``.

        Raises:
            ArgumentError: ``count`` is not within 0 and ``size``, or ``size`` not below 2**32.
        """
        if not 0 <= count <= size < 2**32:
            raise ArgumentError(
                f"count is {count} and size {size}, expected 0 <= count <= size < 2**32: choose no "
                f"more numbers than there are"
            )
        words = self.words(0, rows * count).reshape(rows, count)
        work = count * max(rows, 1000)  # the definition goes through all rows at once
        _backend.pick(work).subsets(words, size)
        return words

    def fill(self, out: NDArray[Any], law: Law, start: int = 0) -> None:
        """Fill ``out`` with what one of `isoinit._drawing.streams.laws` says.

        Raises:
            TypeError: ``out`` is not such an array as the class describes.
        """
        laws.dtype_of(out)
        _run(out, start, self.key(), law)

    def fill_runs(
        self, out: NDArray[Any], law: Law, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> None:
        """Fill ``out`` with runs of elements, one behind the other, each from its start on.

        Raises:
            TypeError: ``out`` is not such an array as the class describes.
        """
        laws.dtype_of(out)
        if len(starts) == 1 or law.kind == FIXED:
            _run(out, int(starts[0]), self.key(), law)
            return
        work = out.size + 4 * philox.BLOCK * len(starts)
        words = philox.key_words(self.key())
        _backend.pick(work).fill_runs(words, law, out, starts, lengths)

    def uniform(
        self, out: NDArray[Any], start: int = 0, low: float = 0.0, high: float = 1.0
    ) -> None:
        """Fill ``out`` with uniform numbers in ``[low, high)``.

        Raises:
            ArgumentError: ``low >= high``, a bound that is not finite, no value of the type of
                ``out`` between them, or a type that cannot hold them or tell the draws apart.
            TypeError: ``out`` is not such an array as the class describes.
        """
        self.fill(out, laws.uniform(low, high, laws.dtype_of(out)), start)

    def normal(
        self, out: NDArray[Any], start: int = 0, mean: float = 0.0, std: float = 1.0
    ) -> None:
        """Fill ``out`` with normal numbers; the farthest lie 6.76 standard deviations out.

        Raises:
            ArgumentError: ``std`` is negative, ``mean`` or ``std`` is not finite, or the type of
                ``out`` cannot hold the farthest value, or tell the draws apart.
            TypeError: ``out`` is not such an array as the class describes.
        """
        self.fill(out, laws.normal(mean, std, laws.dtype_of(out)), start)

    def truncated_normal(
        self,
        out: NDArray[Any],
        start: int = 0,
        mean: float = 0.0,
        std: float = 1.0,
        low: float = -2.0,
        high: float = 2.0,
    ) -> None:
        """Fill ``out`` with normal numbers conditioned on ``[low, high]``.

        The bounds are absolute, as in ``torch.nn.init.trunc_normal_``; either may be infinite.
        ``mean`` and ``std`` are those of the normal before truncation.

        Raises:
            ArgumentError: as `uniform` and `normal`, or ``std`` is 0, or the interval holds less
                than 2**-90 of the normal's mass (further out than 10.8 standard deviations), or is
                narrower than a thousandth of its distance from the mean (or 2**-12 std).
            TypeError: ``out`` is not such an array as the class describes.
        """
        self.fill(out, laws.truncated_normal(mean, std, low, high, laws.dtype_of(out)), start)

    def key(self) -> bytes:
        """Seed, name and purpose, each behind its length, to 128 bits."""
        hashed = _seeded(operator.index(self.seed)).copy()
        hashed.update(_measured(self.name) + (_measured(self.purpose) if self.purpose else _EMPTY))
        return hashed.digest()


def keys(seed: int, names: Iterable[str]) -> list[bytes]:
    """Return what `Stream(seed, name).key()` is for each name, in a third of the time."""
    seeded, found = _seeded(operator.index(seed)), []
    for name in names:
        hashed, data = seeded.copy(), name.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "little") + data + _EMPTY)
        found.append(hashed.digest())
    return found


def fill_together(jobs: Jobs, dtype: np.dtype[Any]) -> None:
    """Do many small jobs of one type at once, which saves most of what a call costs.

    The memory of two jobs may overlap; the later one wins.
    """
    drawn, least = zip(jobs.laws, jobs.sizes, strict=True), 4 * philox.BLOCK
    work = sum([size if size > least else least for law, size in drawn if law.kind != FIXED])
    _backend.pick(work).fill_together(jobs, dtype)


def _run(out: NDArray[Any], start: int, key: bytes, law: Law) -> None:
    _check_range(start, out.size)
    words = philox.key_words(key)
    if law.kind == FIXED:  # nothing that a kernel would do better
        philox.fill(words, law, out, start)
        return
    work = max(out.size, 4 * philox.BLOCK)  # the least that a fill costs
    _backend.pick(work).fill(words, law, out, start)


@lru_cache(maxsize=16)
def _seeded(seed: int) -> blake2b:
    return blake2b(_measured(hex(seed)), digest_size=16, person=b"isoinit")


def _measured(text: str) -> bytes:
    """A text behind its length, so that no two lists of texts have the same bytes."""
    data = text.encode("utf-8", "surrogatepass")  # a name may hold what is no character
    return len(data).to_bytes(8, "little") + data


_EMPTY: Final = _measured("")


def _check_range(start: int, count: int) -> None:
    if start < 0 or count < 0 or start + count > 2**62:
        raise ArgumentError(
            f"start is {start} and the number of elements {count}, expected an index from 0 "
            f"that stays below 2**62: count from the parameter's first element"
        )
