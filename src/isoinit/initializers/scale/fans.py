"""Fan-in and fan-out of every kind of layer, and which axes of a parameter do what.

Fan-in is the number of terms that add up in one output; fan-out is the number of outputs that one
input reaches (Glorot & Bengio 2010, section 4.2.1; He et al. 2015, section 2.2). Both follow from
what the axes of the stored tensor mean, so that is what a `Layout` records: one constructor a kind
of layer, and the fans come out of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._drawing.shard import Piece
from isoinit._system.schema import Place, named, read_fields, types_of
from isoinit.errors import ArgumentError

KINDS = ("linear", "conv", "conv_transpose", "bilinear", "embedding", "kept", "vector")
MOST_AXES = 32  # of NumPy before version 2


@dataclass(frozen=True)
class Layout:
    """How a stored tensor acts as a stack of linear maps.

    Attributes:
        shape: the tensor's shape, as it is stored.
        kind: "linear", "conv", "conv_transpose", "bilinear", "embedding", "kept" or "vector".
        grid: `shape` with packed axes pulled apart, such as (4, h, i) for the (4h, i) of an LSTM.
        stack, out, in_, taps: which axes of `grid` hold independent maps (gates, groups, packed
            projections), outputs, inputs, and kernel positions.
        fan_in: terms that add up in one output.
        fan_out: outputs that one input reaches.
        padding: the row of a lookup table that stands for "nothing" and stays zero.

    Example:
        >>> conv(shape=(64, 8, 3, 3), groups=4).fan_in
        72.0
    """

    shape: tuple[int, ...]
    kind: str
    grid: tuple[int, ...]
    stack: tuple[int, ...]
    out: tuple[int, ...]
    in_: tuple[int, ...]
    taps: tuple[int, ...]
    fan_in: float
    fan_out: float
    padding: int | None = None

    def __post_init__(self) -> None:
        # A layer of width zero sums nothing and holds nothing; 1 keeps the formulas finite.
        object.__setattr__(self, "fan_in", self.fan_in or 1.0)
        object.__setattr__(self, "fan_out", self.fan_out or 1.0)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], at: Place = ()) -> Layout:
        """Read what `dataclasses.asdict` and JSON made of a layout.

        Args:
            data: the fields.
            at: where they stand, for errors.

        Raises:
            ArgumentError: if a field is missing, not known or of a wrong type, or two fields
                contradict each other.
        """
        found = cls(**read_fields(types_of(cls), data, at))
        if fault := found._contradiction():
            raise ArgumentError(f"{named(at)}{fault}")
        return found

    def _contradiction(self) -> str:
        """Return what is wrong with the fields, each of which is of its type; "" if nothing is."""
        if self.kind not in KINDS:
            return f"kind={self.kind!r}: expected one of {', '.join(KINDS)}"
        for name, sizes in (("shape", self.shape), ("grid", self.grid)):
            if len(sizes) > MOST_AXES or any(n < 0 for n in sizes) or math.prod(sizes) >= 2**63:
                return (
                    f"{name}={sizes}: expected at most {MOST_AXES} sizes of 0 or more, and fewer "
                    "than 2**63 elements"
                )
        if math.prod(self.grid) != math.prod(self.shape):
            return f"grid={self.grid} and shape={self.shape} have different numbers of elements"
        axes = self.stack + self.out + self.in_ + self.taps
        if sorted(axes) != list(range(len(self.grid))):
            return (
                f"stack, out, in_ and taps are the axes {axes}: expected each axis of "
                f"grid={self.grid} exactly once"
            )
        if min(self.fan_in, self.fan_out) <= 0:
            return f"fan_in={self.fan_in}, fan_out={self.fan_out}: expected numbers above 0"
        rows = self.shape[0] if self.shape else 0
        if self.padding is not None and not 0 <= self.padding < rows:
            return (
                f"padding={self.padding}: expected null or the index of a row of shape={self.shape}"
            )
        return self._of_another_kind()

    def _of_another_kind(self) -> str:
        """Return what another kind of layer would have; "" if the axes are those of the kind."""
        inputs, taps = bool(self.in_), bool(self.taps)
        if self.kind in ("vector", "kept"):
            fits = not (inputs or taps or self.stack) and self.grid == self.shape
            fits = fits and (self.kind == "kept" or self.fan_in == self.fan_out == 1)
        elif self.kind in ("conv", "conv_transpose"):
            fits = taps
        elif self.kind == "embedding":
            fits = len(self.shape) == 2 and self.grid == self.shape and self.out == (1,)
        else:
            fits = not taps
        return "" if fits else f"kind={self.kind!r} cannot have these axes and fans: {self}"

    @property
    def is_map(self) -> bool:
        """Whether the tensor maps inputs to outputs: a vector (bias, scale) does not."""
        return self.kind != "vector"

    @property
    def maps_shape(self) -> tuple[int, int, int, int]:
        """(stack, out, in, taps): the number of maps, and the size of each."""

        def size(axes: tuple[int, ...]) -> int:
            return math.prod(self.grid[axis] for axis in axes)

        return size(self.stack), size(self.out), size(self.in_), size(self.taps)

    @property
    def is_one_unit(self) -> bool:
        """Whether it is one map, and gives one number."""
        stack, n_out, _, _ = self.maps_shape
        return stack == n_out == 1

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's size along each tap axis; () where there are no taps."""
        return tuple(self.grid[axis] for axis in self.taps)

    @property
    def stores_maps(self) -> bool:
        """Whether the stored order is that of the maps: stack, out, in, taps."""
        order = self.stack + self.out + self.in_ + self.taps
        return order == tuple(range(len(order)))

    def padded(self, piece: Piece) -> Iterator[slice]:
        """Where in a flat part of the tensor the row lies that stays zero."""
        if self.padding is not None:
            row = math.prod(self.shape[1:])
            first = self.padding % self.shape[0] * row
            yield from piece.within(first, first + row)

    def from_maps(self, maps: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Put maps of shape (stack, out, in, taps) back into the stored shape."""
        order = self.stack + self.out + self.in_ + self.taps
        pulled = maps.reshape([self.grid[axis] for axis in order])
        return np.asarray(pulled.transpose(np.argsort(order)).reshape(self.shape))

    def to_maps(self, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """See the stored tensor as maps of shape (stack, out, in, taps)."""
        order = self.stack + self.out + self.in_ + self.taps
        return np.asarray(stored.reshape(self.grid).transpose(order).reshape(self.maps_shape))


def linear(shape: Sequence[int], blocks: int = 1, *, transposed: bool = False) -> Layout:
    """A matrix (out, in), or (in, out) when `transposed` as Hugging Face's `Conv1D` stores it.

    `blocks` matrices may be packed along the output axis: 3 for a packed query, key and value, 4
    for an LSTM's gates, 3 for a GRU's. The fans are those of one block, since each block is a layer
    of its own: the packed shape would make Xavier's standard deviation smaller by up to 1/sqrt(2).
    """
    shape = _checked(shape, 2, "a linear weight")
    n_out, n_in = reversed(shape) if transposed else shape
    out = _split(n_out, blocks, "output", shape)
    if transposed:
        grid, stack, out_axis, in_axis = (n_in, blocks, out), 1, 2, 0
    else:
        grid, stack, out_axis, in_axis = (blocks, out, n_in), 0, 1, 2
    return Layout(
        shape, "linear", grid, (stack,), (out_axis,), (in_axis,), (), float(n_in), float(out)
    )


def contraction(
    shape: Sequence[int],
    *,
    in_: Sequence[int],
    out: Sequence[int],
    stack: Sequence[int] = (),
    grid: Sequence[int] | None = None,
) -> Layout:
    """A tensor used directly (`x @ w`, `torch.einsum`), given what each of its axes does.

    `in_` axes are summed over, `out` axes appear in the result, and `stack` axes number independent
    maps, such as the experts of a mixture. Where the tensor is stored flat and reshaped first, the
    axes are those of `grid`: its axes pulled apart, in their order.

    Example:
        >>> contraction((8, 64, 256), stack=[0], in_=[1], out=[2]).fan_in
        64.0
    """
    shape = tuple(int(n) for n in shape)
    pulled = shape if grid is None else tuple(int(n) for n in grid)
    if sorted((*in_, *out, *stack)) != list(range(len(pulled))):
        raise ArgumentError(
            f"the axes {tuple(stack)} + {tuple(out)} + {tuple(in_)} must include each axis of "
            f"shape {shape} exactly once"
        )
    fan_in, fan_out = (float(math.prod(pulled[axis] for axis in axes)) for axes in (in_, out))
    axes = tuple(stack), tuple(out), tuple(in_), ()
    return Layout(shape, "linear", pulled, *axes, fan_in, fan_out)


def conv(shape: Sequence[int], groups: int = 1, stride: int | Sequence[int] = 1) -> Layout:
    """A convolution's kernel (out, in/groups, *kernel).

    An output sums in/groups channels over the kernel. An input reaches out/groups channels at each
    kernel position, but with a stride only every stride-th position lands on an output, so fan-out
    is divided by the product of the strides: that is the average over input positions.
    """
    shape = _checked(shape, 3, "a convolution's weight")
    n_out = _split(shape[0], groups, "output", shape)
    taps = math.prod(shape[2:])
    return Layout(
        shape,
        "conv",
        (groups, n_out, *shape[1:]),
        (0,),
        (1,),
        (2,),
        tuple(range(3, len(shape) + 1)),
        float(shape[1] * taps),
        n_out * taps / _steps(stride, len(shape) - 2),
    )


def conv_transpose(
    shape: Sequence[int], groups: int = 1, stride: int | Sequence[int] = 1
) -> Layout:
    """A transposed convolution's kernel (in, out/groups, *kernel).

    The roles of a convolution swap: an input reaches every tap of out/groups channels, while an
    output collects in/groups channels from the kernel positions that the stride lets reach it:
    the kernel's size over the product of strides, on average over output positions (exactly where
    the stride divides the kernel).
    """
    shape = _checked(shape, 3, "a transposed convolution's weight")
    n_in = _split(shape[0], groups, "input", shape)
    taps = math.prod(shape[2:])
    return Layout(
        shape,
        "conv_transpose",
        (groups, n_in, *shape[1:]),
        (0,),
        (2,),
        (1,),
        tuple(range(3, len(shape) + 1)),
        n_in * taps / _steps(stride, len(shape) - 2),
        float(shape[1] * taps),
    )


def kernel(
    shape: Sequence[int],
    grid: Sequence[int],
    *,
    stack: Sequence[int],
    out: Sequence[int],
    in_: Sequence[int],
    taps: Sequence[int],
    stride: int | Sequence[int] = 1,
    transposed: bool = False,
) -> Layout:
    """A convolution's kernel in any order, such as (*kernel, in, out), as TensorFlow stores it.

    `grid` is the shape with its axes pulled apart. The fans are those of `conv` and `conv_transpose`.

    Example:
        >>> kernel((3, 3, 8, 16), (3, 3, 8, 16, 1), stack=[4], out=[3], in_=[2], taps=[0, 1]).fan_in
        72.0
    """
    n_in, n_out, n_taps = (math.prod(grid[axis] for axis in axes) for axes in (in_, out, taps))
    steps = _steps(stride, len(taps))
    fan_in, fan_out = float(n_in * n_taps), float(n_out * n_taps)
    fan_in, fan_out = (fan_in / steps, fan_out) if transposed else (fan_in, fan_out / steps)
    kind = "conv_transpose" if transposed else "conv"
    axes = tuple(stack), tuple(out), tuple(in_), tuple(taps)
    return Layout(tuple(shape), kind, tuple(grid), *axes, fan_in, fan_out)


def bilinear(shape: Sequence[int]) -> Layout:
    """A bilinear form's weight (out, in1, in2): an output sums in1·in2 products.

    The products of two independent unit-variance inputs have unit variance, so the count of terms
    is the fan-in. One element of the first input reaches out·in2 products, one of the second
    out·in1: fan-out is their mean.
    """
    shape = _checked(shape, 3, "a bilinear weight", exact=True)
    n_out, n1, n2 = shape
    return Layout(
        shape, "bilinear", shape, (), (0,), (1, 2), (), float(n1 * n2), n_out * (n1 + n2) / 2
    )


def embedding(shape: Sequence[int], bag: int = 1, padding: int | None = None) -> Layout:
    """A lookup table (rows, width): a row is looked up, nothing is summed, so fan-in is 1.

    An embedding bag sums `bag` rows. A row reaches its `width` outputs. The row `padding` is kept
    at zero, as `torch.nn.Embedding(padding_idx=...)` keeps it.
    """
    shape = _checked(shape, 2, "an embedding's table")
    row = None if padding is None else padding % shape[0]
    return Layout(shape, "embedding", shape, (), (1,), (0,), (), float(bag), float(shape[1]), row)


def kept(shape: Sequence[int], whole: Layout) -> Layout:
    """The weights that a sparse parameter keeps, in a line: (kept,).

    Its fans are those of the parameter as a whole, times the share that is kept: means over units.
    Which weight lies where is not told, so that only what draws each weight by itself can fill it.

    Example:
        >>> kept((2000,), linear((100, 400))).fan_in
        20.0
    """
    shape = tuple(int(n) for n in shape)
    share = math.prod(shape) / max(math.prod(whole.shape), 1)
    fans = whole.fan_in * share, whole.fan_out * share
    return Layout(shape, "kept", shape, (), tuple(range(len(shape))), (), (), *fans)


def vector(shape: Sequence[int]) -> Layout:
    """A bias, a scale, or another tensor that acts elementwise: it has no fans (both are 1)."""
    shape = tuple(int(n) for n in shape)
    return Layout(shape, "vector", shape, (), tuple(range(len(shape))), (), (), 1.0, 1.0)


def of_tensor(shape: Sequence[int]) -> Layout:
    """The layout that `torch.nn.init` assumes from a shape alone: (out, in, *kernel).

    It cannot know groups, strides, transposition or packing; a plan, which sees the layer, can.
    """
    shape = tuple(int(n) for n in shape)
    if len(shape) < 2:
        return vector(shape)
    return linear(shape) if len(shape) == 2 else conv(shape)


def _checked(shape: Sequence[int], rank: int, what: str, *, exact: bool = False) -> tuple[int, ...]:
    found = tuple(int(n) for n in shape)
    if len(found) < rank or ((exact or rank == 2) and len(found) != rank):
        raise ArgumentError(
            f"{what} has {rank}{'' if exact or rank == 2 else ' or more'} axes, found shape {found}"
        )
    return found


def _split(size: int, parts: int, axis: str, shape: tuple[int, ...]) -> int:
    if not isinstance(parts, (int, np.integer)) or parts < 1 or size % parts:
        raise ArgumentError(
            f"the {axis} axis of shape {shape} has {size} entries, which is not divisible by "
            f"{parts} blocks or groups. Give a divisor of {size}"
        )
    return size // parts


def _steps(stride: int | Sequence[int], dims: int) -> int:
    steps = stride**dims if isinstance(stride, int) else math.prod(stride)
    if steps < 1:
        raise ArgumentError(f"stride={stride!r}: expected integers of at least 1")
    return steps
