"""Which initializer a parameter got, from the calls that fill it, confirmed by values.

A call's own numbers are exact, but what follows it (`mul_`, a zeroed row) changes what they mean, and
a name promises nothing. So the calls are run twice from one seed, the first of them alone and all of
them: what came of the first must look like what it says, and the whole must be a multiple of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from isoinit._planning.recipes.rerun import is_poison
from isoinit._planning.recipes.values import (
    ENOUGH,
    FAR,
    SAMPLE,
    Array,
    Found,
    from_values,
    orthogonal_gain,
    sample,
    words_for,
    zero_row,
)
from isoinit._writing.deferred import ARITHMETIC
from isoinit._writing.poison import poison
from isoinit._writing.postponed import Write
from isoinit.errors import IsoinitError
from isoinit.initializers import Initializer, Normal, Orthogonal, TruncatedNormal, Uniform
from isoinit.initializers.scale import activation_gain, fans

# Six standard errors: a false-alarm rate of one in 500 million.
ERRORS = 6.0


def from_writes(
    shape: tuple[int, ...], dtype: torch.dtype, writes: Sequence[Write], seed: int = 0
) -> Found:
    """What the calls that fill a parameter give it.

    Args:
        shape: the parameter's.
        dtype: the parameter's.
        writes: the calls in order; the first writes over the whole.
        seed: what the calls draw under here.
    """
    if is_poison(writes[0]):
        if len(writes) == 1:
            return Found(None, "never writes it")
        return from_values([_draw(shape, dtype, writes, seed)])
    law = _law_of(writes[0], shape)
    start, count = _window(shape, writes)
    writes = [_within(write, shape, start, count) for write in writes]
    shape = (count, *shape[1:]) if shape else shape
    if dtype.is_complex:
        runs = _runs_for(math.prod(shape))
        return from_values([_draw(shape, dtype, writes, seed + k) for k in range(runs)])
    seeds = range(seed, seed + _draws_for(math.prod(shape)))
    firsts = [_draw(shape, dtype, writes[:1], k) for k in seeds]
    values = firsts if len(writes) == 1 else [_draw(shape, dtype, writes, k) for k in seeds]
    row = zero_row(values[0]) if len(writes) > 1 else None
    x, y = (np.concatenate([sample(v, row) for v in drawn]) for drawn in (firsts, values))
    if law is not None and x.size > 1 and np.ptp(y) > 0:
        scale, shift = _multiple(x, y, dtype)
        moved = None if scale is None else _moved(law, scale, shift)
        if moved is not None and _bears_out(law, firsts[0] if row is None else None, x):
            padding = None if row is None else row + start
            whole = isinstance(moved, Orthogonal)
            return Found(moved, f"drew {words_for(moved)}", padding, whole)
    runs = _runs_for(math.prod(shape))
    return from_values([_draw(shape, dtype, writes, seed + k) for k in range(runs)])


def law_of(writes: Sequence[Write], parameter: torch.Tensor) -> Initializer | None:
    """The distribution of the one random fill that writes a parameter; None for anything else."""
    last = _law_of(writes[-1], tuple(parameter.shape)) if writes else None
    return last if all(is_poison(write) for write in writes[:-1]) else None


def some_of(shape: tuple[int, ...], dtype: torch.dtype, writes: Sequence[Write]) -> torch.Tensor:
    """What the calls that fill a parameter make of some of its rows, or of all."""
    start, count = _window(shape, writes)
    writes = [_within(write, shape, start, count) for write in writes]
    return _draw((count, *shape[1:]) if shape else shape, dtype, writes, 0)


def key_of(parameter: torch.Tensor, writes: Sequence[Write]) -> object:
    """What is the same for parameters that are filled alike."""
    said = tuple(
        (w.function, w.size, w.stride, w.offset, w.args, tuple(sorted(w.kwargs.items())))
        for w in writes
    )
    return repr((tuple(parameter.shape), parameter.dtype, said))


def _window(shape: tuple[int, ...], writes: Sequence[Write]) -> tuple[int, int]:
    """The first of the rows that show all there is to see, and how many: about `SAMPLE` elements.

    Calls that draw or change each element by itself do the same to any rows; those that write to a
    part, such as the row for padding, must lie within.
    """
    first, *later = writes
    elementwise = ("normal_", "uniform_", "trunc_normal_")
    width = max(1, math.prod(shape[1:]))
    count = max(1, SAMPLE // width)
    names = {getattr(write.function, "__name__", "") for write in later}
    parts = [write for write in later if tuple(write.size) != shape]
    low = min((write.offset // width for write in parts), default=0)
    high = max((-(-write.end // width) for write in parts), default=0)
    if (
        getattr(first.function, "__name__", "") not in elementwise
        or not names <= ARITHMETIC - {"__setitem__"}
        or high - low > count
        or not shape
        or count >= shape[0]
    ):
        return 0, shape[0] if shape else 1
    return min(low, shape[0] - count), count


def _within(write: Write, shape: tuple[int, ...], start: int, count: int) -> Write:
    """The same call on some rows of the parameter."""
    if tuple(write.size) == shape:
        return replace(write, size=(count, *shape[1:])) if shape else write
    return replace(write, offset=write.offset - start * math.prod(shape[1:]))


def _draws_for(size: int) -> int:
    """How many draws of a small parameter show whether a call does what it says."""
    return math.ceil(64 / size) if 0 < size < 64 else 1


def _runs_for(size: int) -> int:
    """How many runs give values enough for an estimate."""
    return min(max(2, math.ceil(4 * ENOUGH / max(size, 1))), 64)


def _draw(
    shape: Sequence[int], dtype: torch.dtype, writes: Sequence[Write], seed: int
) -> torch.Tensor:
    """Run the calls on memory of their own; torch's generator is put back."""
    memory = torch.empty(tuple(shape), dtype=dtype, device="cpu")
    poison(memory)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for write in writes:
            region = memory.as_strided(write.size, write.stride, write.offset)
            write.function(region, *write.args, **write.kwargs)
    return memory


# How each random fill names its numbers, and what they are by default.
_NUMBERS: dict[str, dict[str, Any]] = {
    "normal_": {"mean": 0.0, "std": 1.0},
    "uniform_": {"a": 0.0, "b": 1.0},
    "trunc_normal_": {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0},
    "orthogonal_": {"gain": 1.0},
    "xavier_normal_": {"gain": 1.0},
    "xavier_uniform_": {"gain": 1.0},
    "kaiming_normal_": {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"},
    "kaiming_uniform_": {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"},
}


def _law_of(write: Write, shape: tuple[int, ...]) -> Initializer | None:
    """The distribution that a call names; None if it is none of those known here."""
    name = getattr(write.function, "__name__", "")
    if name not in _NUMBERS or tuple(write.size) != shape:
        return None
    given = {{"from": "a", "to": "b"}.get(k, k): v for k, v in write.kwargs.items()}
    numbers = {**_NUMBERS[name], **dict(zip(_NUMBERS[name], write.args, strict=False))}
    numbers.update((k, v) for k, v in given.items() if k in numbers)
    try:
        return _LAWS[name](numbers, shape)
    except (IsoinitError, ValueError, TypeError, ArithmeticError):  # no distribution of ours
        return None


def _truncated(n: dict[str, Any], _: tuple[int, ...]) -> Initializer:
    low, high = (n["a"] - n["mean"]) / n["std"], (n["b"] - n["mean"]) / n["std"]
    if low < -FAR and high > FAR:
        return Normal(n["mean"], n["std"])
    return TruncatedNormal(n["mean"], n["std"], low, high)


def _of_std(std: float, *, uniform: bool) -> Initializer:
    bound = math.sqrt(3) * std
    return Uniform(-bound, bound) if uniform else Normal(0.0, std)


def _xavier(n: dict[str, Any], shape: tuple[int, ...], *, uniform: bool) -> Initializer:
    fan_in, fan_out = _fans(shape)
    return _of_std(n["gain"] * math.sqrt(2 / (fan_in + fan_out)), uniform=uniform)


def _kaiming(n: dict[str, Any], shape: tuple[int, ...], *, uniform: bool) -> Initializer:
    fan_in, fan_out = _fans(shape)
    means = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    fan = means.get(n["mode"].lower(), 0.0)
    gain = _gain(n["nonlinearity"], n["a"])
    return _of_std(gain / math.sqrt(fan), uniform=uniform)


def _gain(name: str, slope: float) -> float:
    """The gain of a nonlinearity: as in torch's table, or that of `isoinit.functional` beside it."""
    known: Any = name
    try:
        return nn.init.calculate_gain(known, slope)
    except ValueError:
        return activation_gain(name)


_LAWS: dict[str, Callable[[dict[str, Any], tuple[int, ...]], Initializer]] = {
    "normal_": lambda n, _: Normal(n["mean"], n["std"]),
    "uniform_": lambda n, _: Uniform(n["a"], n["b"]),
    "trunc_normal_": _truncated,
    "orthogonal_": lambda n, _: Orthogonal(n["gain"]),
    "xavier_normal_": lambda n, shape: _xavier(n, shape, uniform=False),
    "xavier_uniform_": lambda n, shape: _xavier(n, shape, uniform=True),
    "kaiming_normal_": lambda n, shape: _kaiming(n, shape, uniform=False),
    "kaiming_uniform_": lambda n, shape: _kaiming(n, shape, uniform=True),
}


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """The fans that `torch.nn.init` takes from a shape: the first axis is the output's."""
    taps = math.prod(shape[2:])
    return float(shape[1] * taps), float(shape[0] * taps)


def _precision(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).eps)


def _multiple(x: Array, y: Array, dtype: torch.dtype) -> tuple[float | None, float]:
    """Scale and shift with y = scale · x + shift; no scale if there are none."""
    if np.array_equal(x, y):
        return 1.0, 0.0
    centred = x - x.mean()
    scale = float(centred @ (y - y.mean()) / (centred @ centred))
    shift = float(y.mean() - scale * x.mean())
    spread = abs(scale) * float(x.std())
    slack = 8 * _precision(dtype) * float(np.abs(y).max())
    if not scale or np.abs(y - scale * x - shift).max() > slack:
        return None, 0.0
    return float(f"{scale:.7g}"), 0.0 if abs(shift) < 1e-5 * spread + slack else shift


def _moved(law: Initializer, scale: float, shift: float) -> Initializer | None:
    """The distribution of scale · x + shift."""
    if scale == 1 and shift == 0:
        return law
    if isinstance(law, Normal):
        return Normal(law.mean * scale + shift, law.std * abs(scale))
    if isinstance(law, Uniform):
        ends = sorted((law.a * scale + shift, law.b * scale + shift))
        return Uniform(*ends)
    if isinstance(law, TruncatedNormal):
        a, b = (law.a, law.b) if scale > 0 else (-law.b, -law.a)
        return TruncatedNormal(law.mean * scale + shift, law.std * abs(scale), a, b)
    if isinstance(law, Orthogonal) and shift == 0:
        return Orthogonal(law.gain * abs(scale))
    return None


def _bears_out(law: Initializer, whole: torch.Tensor | None, x: Array) -> bool:
    """Whether values look like draws from a distribution: mean, standard deviation and bounds."""
    if isinstance(law, Orthogonal):
        gain = None if whole is None else orthogonal_gain(whole)
        return gain is not None and math.isclose(gain, law.gain, rel_tol=0.02)
    std = law.std_for(fans.vector((x.size,)))
    mean, slack = 0.0, 0.01 * std  # short types round
    if isinstance(law, Uniform):
        mean = (law.a + law.b) / 2
        if x.min() < law.a - slack or x.max() > law.b + slack:
            return False
    elif isinstance(law, TruncatedNormal):
        if x.min() < law.mean + law.a * law.std - slack:
            return False
        if x.max() > law.mean + law.b * law.std + slack:
            return False
        mean = float(x.mean())  # no closed form is needed: the bounds and the std decide
    elif isinstance(law, Normal):
        mean = law.mean
    error = std / math.sqrt(x.size)
    return bool(
        abs(x.mean() - mean) <= ERRORS * error + slack
        and (x.size < 30 or abs(x.std() - std) <= ERRORS * error + slack)
    )
