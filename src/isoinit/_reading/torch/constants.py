"""Constants: tensors that depend on neither the example nor a parameter, and what they hold.

Under fake tensors a constant has no memory. What makes it of other constants is kept, and is run on
real memory when its values are asked for, if they are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from isoinit._reading.constants import MOST, SAMPLED, WAVES, places
from isoinit._reading.graph import BESIDE, Array, ReplayError, first_line
from isoinit._reading.torch.calls import INDEXED, draws
from isoinit._reading.torch.chance import DRAWN, drawer, seeded
from isoinit._reading.torch.numbers import doubled, shape_of
from isoinit._reading.torch.real import on_real_memory
from isoinit._reading.torch.trees import map_leaves, tensors_in
from isoinit._reading.values import rows_alike
from isoinit._system.private import FakeTensor, is_functorch_wrapped_tensor, unset_fake_temporarily

# Comparing two rows of places with each other makes a mask that looks back only.
ORDERS = frozenset("tril triu le lt ge gt".split())
# Where the number stands that a new tensor is filled with; what is empty will be written yet.
FILLED = {"full": 1, "full_like": 1, "new_full": 2}
BLANK = {"zeros": 0.0, "ones": 1.0, "empty": 0.0}


@dataclass(frozen=True)
class Constant:
    """What is known of a tensor that depends on neither the example nor a parameter.

    Attributes:
        tensor: the tensor, or the real one that it stands for or is a rearrangement of.
        wave: whether it is a sine or cosine of places, whose square is a half on average.
        causal: whether it tells what comes before what.
        filled: the number that all its elements are, if that is known from what made it.
        make: computes it on real memory; None where `tensor` holds it.
        moved: whether that only rearranges another constant.
        draw: draws many of its values, in one row, where they are left to chance; None elsewhere.
    """

    tensor: torch.Tensor
    wave: bool = False
    causal: bool = False
    filled: float | None = None
    make: Callable[[], torch.Tensor] | None = None
    moved: bool = False
    draw: Callable[[], torch.Tensor] | None = None

    @cached_property
    def values(self) -> torch.Tensor:
        """Its values on the CPU.

        Raises:
            ReplayError: if they are too many, or not known; the message says which.
        """
        draws = self.make is not None and not self.moved and self.draw is None
        with on_real_memory(draws=draws), seeded() if self.draw else nullcontext():
            return self._read() if self.make is None else self.make()

    @cached_property
    def drawn(self) -> torch.Tensor | None:
        """Many of its values, where they are left to chance: the same ones at every call.

        Raises:
            ReplayError: if it cannot be drawn alone.
        """
        if self.draw is None:
            return None
        with on_real_memory(draws=False), seeded():
            return self.draw()

    def _read(self) -> torch.Tensor:
        """Return what the tensor itself holds."""
        if self.tensor.numel() > MOST:
            raise ReplayError(f"a constant tensor of more than {MOST:,} elements")
        if not _is_plain(self.tensor):
            raise ReplayError("a constant tensor whose values are not known")
        return self.tensor.detach().cpu()

    @cached_property
    def number(self) -> torch.Tensor | None:
        """The one number that all its elements are, without axes; None if they differ, or may.

        Raises:
            ReplayError: as `values` does.
        """
        if self.wave or self.draw is not None:  # equal for one place, or by chance
            return None
        with on_real_memory(draws=False):
            if self.filled is not None:
                return _typed(self.filled, self.tensor.dtype)
            values = self.values.reshape(-1)
            one = bool(values.numel()) and bool((values == values[0]).all())
            return _typed(values[0].item(), values.dtype) if one else None

    @cached_property
    def sampled(self) -> Array:
        """Some of its values, at equal steps.

        Raises:
            ReplayError: as `values` does, or if it has none.
        """
        with on_real_memory(draws=False):
            values = (self.values if self.drawn is None else self.drawn).reshape(-1)
            if not values.numel() or values.is_complex():
                raise ReplayError("a constant tensor without real values")
            whole = self.draw or values.numel() < 2 * SAMPLED
            few = values if whole else values[torch.from_numpy(places(values.numel()))]
            found: Array = doubled(few).numpy() if few.is_floating_point() else few.numpy()
            return found

    @cached_property
    def moments(self) -> tuple[float, float] | None:
        """Its mean and second moment; None if they are not known."""
        if self.wave:
            return 0.0, 0.5
        with on_real_memory(draws=False):
            values = self.tensor
            if self.draw is not None or not _is_plain(values):
                try:
                    values = self._many()
                except ReplayError:  # whoever reads it records why
                    return None
            values = doubled(values.detach())
            if not values.numel() or not bool(values.isfinite().all()):
                return None
            return values.mean().item(), values.square().mean().item()

    @cached_property
    def alike(self) -> float:
        """The mean product of two of its rows, as tables of places have; mean² where not known."""
        mean, _ = self.moments or (0.0, 0.0)
        if self.draw is not None or self.filled is not None or self.tensor.dim() < 2:
            return mean**2
        with on_real_memory(draws=False):
            try:
                values = self.values
            except ReplayError:  # whoever reads it records why
                return mean**2
            return rows_alike(doubled(values).numpy()) if not values.is_complex() else mean**2

    def _many(self) -> torch.Tensor:
        if self.drawn is not None:
            return self.drawn
        return self.values if self.number is None else self.number


def _typed(number: float, dtype: torch.dtype) -> torch.Tensor:
    """Return a number without axes: of float32 the shortest decimal one, which a model wrote."""
    if dtype == torch.float32:
        number = float(str(np.float32(number)))
    return torch.tensor(number, dtype=torch.float64 if dtype.is_floating_point else dtype)


@dataclass(frozen=True)
class _Shape:
    """Stands for a tensor of which only the shape and the dtype may matter."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def _is_plain(tensor: torch.Tensor) -> bool:
    """Return whether a tensor has all its values here."""
    if isinstance(tensor, FakeTensor) or tensor.is_meta or hasattr(tensor, "device_mesh"):
        return False
    if is_functorch_wrapped_tensor(tensor):  # inside vmap, or grad
        return False
    return tensor.layout == torch.strided and not tensor.is_quantized


def constant(
    call: tuple[Any, Sequence[Any], Mapping[str, Any]],
    name: str,
    made: torch.Tensor,
    known: Callable[[Any], Constant | None],
    *,
    moved: bool,
) -> Constant | None:
    """Return what is known of a constant that a call made; None where the tensor itself says it all.

    Args:
        call: the function, its positional and its other arguments.
        name: the plain name of the function.
        made: the constant.
        known: what is known of a tensor, if it is a constant.
        moved: whether the call only rearranges.
    """
    _, args, kwargs = call
    before = [c for tensor in tensors_in((args, kwargs)) if (c := known(tensor)) is not None]
    compared = name in ("tril", "triu") or sum(isinstance(a, torch.Tensor) for a in args) == 2
    causal = (name in ORDERS and compared) or any(c.causal for c in before)
    keeps = moved or name in BESIDE or name == "mul"  # rotary tables are scaled by one
    wave = name in WAVES or (keeps and any(c.wave for c in before))
    number = filled(name, args, kwargs)
    if number is not None:  # its memory is not needed
        with unset_fake_temporarily():
            shape = torch.empty(made.shape, dtype=made.dtype, device="meta")
        return Constant(shape, wave, causal, number, _filler(made, number))
    draw = None
    if draws(name) or any(c.draw for c in before):
        moved = moved and not draws(name)
        draw = partial(_row, before[0]) if moved else drawer(call, partial(_row_of, known))
    real = _is_plain(made)
    if real and not (wave or causal or draw or (moved and before)):
        return None  # so that its memory is not kept
    make = Constant(made)._read if real else _maker(call, known, shape_of(made))
    held = before[0].tensor if moved and before else made
    return Constant(held, wave, causal, make=make, moved=moved, draw=draw)


def _row_of(
    known: Callable[[Any], Constant | None], tensor: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """Return what gives a row of a tensor's values, of which else the dtype alone matters."""
    constant, dtype = known(tensor), tensor.dtype
    if constant is None:
        return lambda: torch.zeros(DRAWN, dtype=dtype)
    return partial(_row, constant)


def _row(constant: Constant) -> torch.Tensor:
    """Return a row of a constant's values: what is drawn of it, or its one number.

    Raises:
        ReplayError: if it has several numbers, or they are not known.
    """
    if constant.drawn is not None:
        return constant.drawn.clone()  # the call may be in place
    if constant.number is None:
        raise ReplayError("chance beside a constant of several values")
    return constant.number.expand(DRAWN).clone()


def goes_by_signal(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: Callable[[Any], Constant | None],
    value: Callable[[Any], int | None],
    data: Container[int],
) -> bool:
    """Return whether a rearrangement depends on the signal alone, or on chance.

    A fill goes where these say, and not the example's own masks and tokens; entries of a constant
    table are picked by what the index says.

    Args:
        name: the plain name of the function.
        args: its positional arguments.
        kwargs: its other arguments.
        known: what is known of a tensor, if it is a constant.
        value: the number of a tensor that carries signal, or is part of the example.
        data: the numbers of what is made of the example's masks and tokens alone.
    """
    if name in INDEXED and args and known(args[0]) is not None:
        return True
    if name != "masked_fill":
        return False
    mask = args[1] if len(args) > 1 else kwargs.get("mask")
    constant, number = known(mask), value(mask)
    if constant is not None:
        return constant.draw is not None
    return number is not None and number not in data


def filled(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
    """Return the number that a function fills a new tensor with, if it does."""
    if name in FILLED:
        where = FILLED[name]
        number = args[where] if len(args) > where else kwargs.get("fill_value")
        return number if isinstance(number, (bool, int, float)) else None
    return BLANK.get(name.removeprefix("new_").removesuffix("_like"))


def _filler(made: torch.Tensor, number: float) -> Callable[[], torch.Tensor]:
    """Return what makes a tensor of one number again."""
    shape, dtype = tuple(made.shape), made.dtype

    def make() -> torch.Tensor:
        if math.prod(shape) > MOST:
            raise ReplayError(f"a constant tensor of more than {MOST:,} elements")
        return torch.full(shape, number).to(dtype)

    return make


def _maker(
    call: tuple[Any, Sequence[Any], Mapping[str, Any]],
    known: Callable[[Any], Constant | None],
    shape: Sequence[int],
) -> Callable[[], torch.Tensor]:
    """Return what makes a constant again on real memory, of what its arguments hold now."""
    function, args, kwargs = call

    def held(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return torch.device("cpu") if isinstance(leaf, torch.device) else leaf
        return known(leaf) or _Shape(tuple(leaf.shape), leaf.dtype)

    held_args, held_kwargs = map_leaves(held, (list(args), dict(kwargs)))
    if "device" in held_kwargs:
        held_kwargs["device"] = torch.device("cpu")

    def given(leaf: Any) -> Any:
        if isinstance(leaf, Constant):
            return leaf.values.clone()  # the call may be in place
        return torch.empty(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, _Shape) else leaf

    def make() -> torch.Tensor:
        if math.prod(shape) > MOST:
            raise ReplayError(f"a constant tensor of more than {MOST:,} elements")
        again, others = map_leaves(given, (held_args, held_kwargs))
        try:
            result = function(*again, **others)
        except Exception as error:  # whatever torch raises, or chance
            raise ReplayError(f"a constant tensor that {first_line(error)}") from error
        found: torch.Tensor = again[0] if result is None else next(tensors_in(result))
        return found

    return make
