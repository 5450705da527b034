"""What every initializer is: a frozen dataclass that fills a parameter from a stream.

An initializer knows no framework. It is given a 1-D NumPy array to fill, the parameter's stream and
its layout, and writes the elements from `start` on: the same values whichever piece is asked for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from inspect import isabstract
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream, laws
from isoinit._drawing.streams.philox import Law, bfloat16_bits
from isoinit._system.schema import Place, fault, named, read_fields, shown, types_of
from isoinit.errors import ArgumentError
from isoinit.initializers.called import Called
from isoinit.initializers.options import Options, as_number
from isoinit.initializers.scale.fans import Layout

Array = npt.NDArray[Any]
_DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class Initializer(Options, Called, ABC):
    """A rule that gives each element of a parameter its first value.

    Subclasses are frozen dataclasses whose fields are their options, so initializers can be
    compared, hashed, printed and saved.
    """

    _by_name: ClassVar[dict[str, type[Initializer]]] = {}
    _sizes: ClassVar[tuple[str, ...]] = ()  # the options that every value is proportional to
    centre_alone: ClassVar[bool] = False  # whether a kernel is zero but for its centre tap

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Initializer._by_name[cls.__name__] = cls

    @abstractmethod
    def std_for(self, layout: Layout) -> float:
        """The standard deviation that an element of a parameter of this layout gets.

        Raises:
            ArgumentError: if the layout is not one that this initializer can fill, so that a plan
                finds out before it writes.
        """

    def mean_for(self, layout: Layout) -> float:
        """The mean of the elements of a parameter of this layout: zero for most."""
        return 0.0

    def largest_for(self, layout: Layout) -> float:
        """Return a bound of the magnitude of elements; by default of normal ones."""
        return abs(self.mean_for(layout)) + laws.NORMAL_MOST * self.std_for(layout)

    def share_for(self, layout: Layout) -> float:
        """Return the share of elements that are not zero by design: all of them for most."""
        return 1.0

    def require_fit(self, layout: Layout, dtype: np.dtype[Any]) -> None:
        """Raise unless parameters of this layout and type can be filled; nothing is written.

        A type holds no value beyond its largest number, and none that it would round to zero: fixed
        ones, or those with a standard deviation below a quarter of its least number. The type is
        that of the array to be filled, also a complex one; uint16 stands for bfloat16.

        Raises:
            ArgumentError: for a layout that this initializer cannot fill, or such a type.
        """
        if dtype.kind == "c":
            self.complex_part(layout).require_fit(layout, np.empty(0, dtype).real.dtype)
            return
        if self.law(layout, dtype) is not None:
            return
        std, most = self.std_for(layout), self.largest_for(layout)
        try:
            if self.is_fixed:
                laws.fixed(most, dtype)
            else:
                laws.require_range(most, dtype)
                laws.require_spread(std / math.sqrt(self.share_for(layout) or 1.0), dtype)
        except ArgumentError as error:
            raise ArgumentError(f"{self}: {error}") from None

    @abstractmethod
    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Write elements `start` to `start + len(out)` (C order) of the parameter into `out`.

        Args:
            out: a writable, contiguous 1-D array of float32, float64 or float16, or of uint16,
                which stands for the bits of bfloat16.
            stream: the parameter's random numbers.
            layout: what the axes of the whole parameter mean.
            start: where the piece begins in the whole parameter.

        Raises:
            ArgumentError: if the layout is not one that this initializer can fill.
        """

    def fill_piece(self, out: Array, stream: Stream, layout: Layout, piece: Piece) -> None:
        """Write a part of the parameter into `out`, and zeros where a row stands for padding.

        Elements that depend on each other are drawn as far as `fill` needs it, and dropped again.

        Args:
            out: as for `fill`, or of complex numbers (`complex_part`): the part's elements in C order.
            stream: the parameter's random numbers.
            layout: what the axes of the whole parameter mean.
            piece: which part: of a tensor of the parameter's shape, or of one that is flattened.

        Raises:
            ArgumentError: if the layout is not one that this initializer can fill.
        """
        if out.dtype.kind == "c":
            self._fill_complex(out, stream, layout, piece)
            return
        law = self.law(layout, out.dtype)
        if law is not None:
            done = 0
            for starts, lengths in piece.runs():
                size = int(lengths.sum())
                stream.fill_runs(out[done : done + size], law, starts, lengths)
                done += size
        elif out.size:
            first, last = piece.rows
            rows = out if last - first == out.size else np.empty(last - first, out.dtype)
            self.fill(rows, stream, layout, first)
            if rows is not out:
                piece.take(rows, out.reshape(piece.held))
        for some in layout.padded(piece):
            out[some] = 0

    def complex_part(self, layout: Layout) -> Initializer:
        """The initializer of the real and the imaginary part of a complex parameter's elements.

        They share the variance, so that the mean of |w|² is that of a real parameter: Var(w) =
        Var(Re w) + Var(Im w) (Trabelsi et al. 2018, section 3.6). Element e draws them as elements 2e
        and 2e + 1 of the stream. Fixed values are real.

        Raises:
            ArgumentError: unless the values are fixed, or drawn one by one with mean zero.

        Example:
            >>> from isoinit import Normal
            >>> from isoinit.initializers.scale.fans import vector
            >>> print(Normal(std=1.0).complex_part(vector((4,))))
            Normal(std=0.7071)
        """
        if self.is_fixed:
            return self
        if self.law(layout, _DOUBLE) is None or self.mean_for(layout):
            raise ArgumentError(
                f"{self} cannot fill a complex tensor. Use independent elements with mean zero, "
                "such as Normal(std=...) or HeNormal(), or fixed values"
            )
        return self.scaled(math.sqrt(0.5))

    def _fill_complex(self, out: Array, stream: Stream, layout: Layout, piece: Piece) -> None:
        """Do what `fill_piece` does, for complex numbers."""
        parts = out.view(out.real.dtype)
        part = self.complex_part(layout)
        if self.is_fixed:
            reals = np.empty(out.size, out.real.dtype)
            self.fill_piece(reals, stream, layout, piece)
            parts[0::2], parts[1::2] = reals, 0
            return
        law = part.law(layout, parts.dtype)
        assert law is not None, "complex_part has looked"
        done = 0
        for starts, lengths in piece.runs():
            size = 2 * int(lengths.sum())
            stream.fill_runs(parts[done : done + size], law, 2 * starts, 2 * lengths)
            done += size
        for some in layout.padded(piece):
            out[some] = 0

    def draws_alone(self, layout: Layout, dtype: np.dtype[Any]) -> bool:
        """Whether an element depends on no other one: parts of it can be drawn without the rest.

        Raises:
            ArgumentError: as `law` and `complex_part`.
        """
        if dtype.kind == "c":
            self.complex_part(layout)
            dtype = _DOUBLE
        return self.law(layout, dtype) is not None

    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law | None:
        """Return the distribution of each element; None if elements depend on each other.

        Args:
            layout: what the parameter's axes mean.
            dtype: float32, float64 or float16, or uint16, which stands for bfloat16.

        Raises:
            ArgumentError: if the layout is not one that this initializer can fill, or the type not
                one that can hold what it draws.
        """
        return None

    def for_parameter(self, name: str) -> Initializer:
        """What a plan gives the parameter of this name: itself, unless it depends on the name."""
        return self

    @property
    def is_constant(self) -> bool:
        """Whether every unit of a layer filled by it computes the same function."""
        return False

    @property
    def is_fixed(self) -> bool:
        """Whether the values are the same under every seed."""
        return self.is_constant

    def scaled(self, factor: float) -> Initializer:
        """The initializer whose every value is `factor` times that of this one, from any stream.

        Args:
            factor: what to multiply by, such as the correction of a scale that was measured.

        Raises:
            ArgumentError: unless `factor` is finite and above 0; if the result is out of range, or
                the initializer has no option that its values are proportional to.

        Example:
            >>> from isoinit import HeNormal, Uniform
            >>> print(HeNormal(gain=2.0).scaled(1.5), Uniform(-0.5, 0.5).scaled(0.5))
            HeNormal(gain=3) Uniform(a=-0.25, b=0.25)
        """
        number = as_number(factor)
        if number is None or not number > 0:
            expected = "expected a factor that is finite and above 0"
            raise ArgumentError(f"{self}.scaled({factor!r}): {expected}")
        if not self._sizes:
            raise ArgumentError(f"{self}.scaled({factor!r}): it has no option for its scale")
        return replace(self, **{name: number * getattr(self, name) for name in self._sizes})

    def to_dict(self) -> dict[str, Any]:
        """The initializer as plain JSON data; `from_dict` reads it back."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        nested = {k: _as_data(value) for k, value in options.items()}
        return {"initializer": type(self).__name__, **nested}

    @staticmethod
    def from_dict(data: Mapping[str, Any], at: Place = ()) -> Initializer:
        """Read what `to_dict` wrote; no code is run but the constructors'.

        Args:
            data: the name of the initializer, and its options.
            at: where they stand, for errors.

        Raises:
            ArgumentError: for an unknown initializer or option, one that is missing or of a wrong
                type, or a value out of range.
        """
        if not isinstance(data, Mapping):
            raise fault(at, data, 'an object such as {"initializer": "Zeros"}')
        name = data.get("initializer")
        cls = Initializer._by_name.get(name) if isinstance(name, str) else None
        if cls is None or isabstract(cls):
            known = [n for n, each in Initializer._by_name.items() if not isabstract(each)]
            raise ArgumentError(
                f"{named(at)}there is no initializer called {shown(name)}; expected one of "
                f"{', '.join(sorted(known))}"
            )
        options = {key: value for key, value in data.items() if key != "initializer"}
        types = types_of(cls)
        found = read_fields(types, options, at, types)  # the constructor knows which it must have
        try:
            return cls(**found)
        except (TypeError, ValueError, ArithmeticError) as error:  # a user's own may raise any
            said = str(error) if isinstance(error, ArgumentError) else f"{name}: {error}"
            raise ArgumentError(f"{named(at)}{said}") from error

    def __str__(self) -> str:
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is not MISSING and value == field.default:
                continue
            shown.append(f"{field.name}={value:.4g}" if isinstance(value, float) else f"{value}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _require_base(self) -> None:
        """Refuse a `base` that is no initializer."""
        if not isinstance(base := getattr(self, "base", None), Initializer):
            name = type(self).__name__
            raise ArgumentError(f"{name}(base={base!r}): expected an initializer, like HeNormal()")

    def _require_map(self, layout: Layout) -> None:
        """Refuse vectors, which have no fan-in or fan-out."""
        if not layout.is_map:
            raise ArgumentError(
                f"{self} needs a weight with inputs and outputs, found a vector of shape "
                f"{layout.shape}. Use Zeros() for a bias, Ones() for a scale, or Normal(std=...)"
            )


def _as_data(option: Any) -> Any:
    """An option as plain data."""
    if isinstance(option, Layout):
        return asdict(option)
    return option.to_dict() if isinstance(option, Initializer) else option


class IndependentInitializer(Initializer):
    """An initializer that draws each element by itself, all from one distribution."""

    @abstractmethod
    def law(self, layout: Layout, dtype: np.dtype[Any]) -> Law:
        """Return the distribution of each element."""

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw from the distribution."""
        stream.fill(out, self.law(layout, out.dtype), start)

    def largest_for(self, layout: Layout) -> float:
        """Return a bound of the magnitude of all draws."""
        return laws.largest(self.law(layout, _DOUBLE))


class WholeInitializer(Initializer):
    """An initializer whose elements depend on each other, so that it draws the whole parameter."""

    @abstractmethod
    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The whole parameter, float64, in its stored shape; `std_for` accepted the layout."""

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw the whole parameter and keep the piece that was asked for."""
        self.require_fit(layout, out.dtype)
        store(self.draw(stream, layout).reshape(-1)[start : start + out.size], out)


class MapsInitializer(WholeInitializer):
    """A whole initializer that writes map by map, into the parameter's own memory where it can.

    It works in float32, in float64 for float64 parameters, and in shorter types if it `rounds`.
    """

    rounds: ClassVar[bool] = False
    by_map: ClassVar[bool] = False  # whether it can write some maps without the others

    @abstractmethod
    def write(self, maps: Array, stream: Stream, layout: Layout, first: int = 0) -> None:
        """Write the whole parameter into `maps`: (stack, out, in, taps), contiguous.

        `std_for` accepted the layout. If it can write some maps `by_map`, these begin at `first`.
        """

    def draw(self, stream: Stream, layout: Layout) -> Array:
        """The whole parameter, float64, in its stored shape."""
        maps = np.empty(layout.maps_shape)
        self.write(maps, stream, layout)
        return layout.from_maps(maps)

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Write straight into `out` if it is the whole parameter, map by map; else copy a piece."""
        self.require_fit(layout, out.dtype)
        direct = self.rounds or out.dtype in (np.float32, np.float64)
        stack, *sides = layout.maps_shape
        first, last, size = 0, stack, math.prod(sides)
        if self.by_map and layout.stores_maps and size:
            first, last = start // size, -(-(start + out.size) // size)
        shape = (last - first, *sides)
        if direct and layout.stores_maps and out.size == math.prod(shape):
            self.write(out.reshape(shape), stream, layout, first)
            return
        maps = np.empty(shape, out.dtype if direct else np.float32)
        self.write(maps, stream, layout, first)
        some = maps if last - first < stack else layout.from_maps(maps)
        begin = start - first * size
        piece = some.reshape(-1)[begin : begin + out.size]
        if direct:
            out[:] = piece
        else:
            store(piece, out)


def store(values: Array, out: Array) -> None:
    """Write `values` into `out`, rounded to float32 and then, for shorter types, once more.

    `out` of uint16 takes bfloat16 bits: float32's upper half, rounded to nearest, ties to even.
    """
    if out.dtype == np.uint16:
        out[:] = bfloat16_bits(np.ascontiguousarray(values, np.float32))
    elif out.dtype == np.float16:
        out[:] = values.astype(np.float32)
    else:
        out[:] = values
