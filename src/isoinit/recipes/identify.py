"""Which initializer a parameter got: from the calls that fill it and their values, or values alone.

A call's own numbers are exact, but what follows it (`mul_`, a zeroed row) changes what they mean, and
a name promises nothing. So the calls are run twice from one seed, the first of them alone and all of
them: what came of the first must look like what it says, and the whole must be a multiple of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from isoinit.errors import IsoinitError
from isoinit.initializers import (
    Constant,
    Dirac,
    GateBias,
    Identity,
    Initializer,
    Normal,
    Ones,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Zeros,
)
from isoinit.postpone import ARITHMETIC, Write
from isoinit.random import Stream
from isoinit.recipes.rerun import is_poison, poison
from isoinit.scale import fans

Array = npt.NDArray[np.float64]

SAMPLE = 2**20  # elements looked at of a larger parameter
ENOUGH = 1000  # values without which no law is estimated
# Six standard errors: a true law is refused once in 500 million times.
ERRORS = 6.0
# Kolmogorov's statistic times the root of the number of values, which it exceeds once in 100,000.
LARGEST_GAP = 2.47
# A cut so far out takes two values in a billion, and `trunc_normal_` cuts at ±2 whatever the std.
FAR = 6.0


@dataclass(frozen=True)
class Found:
    """What a parameter got.

    Attributes:
        initializer: ours that draws from the same law; None if there is none.
        seen: what was seen, in words: "drew normal, mean 0, std 0.02".
        padding: the row that is zero, where the others are random.
        whole: whether the initializer takes the parameter as (out, everything else), as torch does.
    """

    initializer: Initializer | None
    seen: str
    padding: int | None = None
    whole: bool = False


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
    seeds = range(seed, seed + _draws_for(math.prod(shape)))
    firsts = [_draw(shape, dtype, writes[:1], k) for k in seeds]
    values = firsts if len(writes) == 1 else [_draw(shape, dtype, writes, k) for k in seeds]
    row = _zero_row(values[0]) if len(writes) > 1 else None
    x, y = (np.concatenate([_sample(v, row) for v in drawn]) for drawn in (firsts, values))
    if law is not None and x.size > 1 and np.ptp(y) > 0:
        scale, shift = _multiple(x, y, dtype)
        moved = None if scale is None else _moved(law, scale, shift)
        if moved is not None and _bears_out(law, firsts[0] if row is None else None, x):
            padding = None if row is None else row + start
            whole = isinstance(moved, Orthogonal)
            return Found(moved, f"drew {_words(moved)}", padding, whole)
    runs = _runs_for(math.prod(shape))
    return from_values([_draw(shape, dtype, writes, seed + k) for k in range(runs)])


def from_values(runs: Sequence[torch.Tensor]) -> Found:
    """What a parameter got, from its values alone.

    Args:
        runs: what it held after runs from different seeds.
    """
    values = runs[0].detach()
    unwritten = torch.isnan(values)
    if bool(unwritten.any()):
        count = int(unwritten.sum())
        if count == values.numel():
            return Found(None, "never writes it")
        return Found(None, f"leaves {count:,} of its {values.numel():,} elements unwritten")
    if not bool(torch.isfinite(values).all()):
        return Found(None, "wrote infinite values")
    if is_constant(values):
        return Found(_constant(values), f"wrote {_constant_value(values):g} everywhere")
    if len(runs) < 2 or all(torch.equal(values, other) for other in runs[1:]):
        return _table(values)
    return _estimated(runs)


def is_constant(values: torch.Tensor) -> bool:
    """Whether all elements are the same number; true of no element."""
    return not values.numel() or bool((values == values.reshape(-1)[0]).all())


def _window(shape: tuple[int, ...], writes: Sequence[Write]) -> tuple[int, int]:
    """The first of the rows that show all there is to see, and how many: about `SAMPLE` elements.

    Calls that draw or change each element by itself do the same to any rows; those that write to a
    part, such as the row for padding, must lie within.
    """
    first, *later = writes
    elementwise = ("normal_", "uniform_", "trunc_normal_")
    width = math.prod(shape[1:])
    count = max(1, SAMPLE // max(width, 1))
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
    """The law that a call says it draws from; None if it is none of those known here."""
    name = getattr(write.function, "__name__", "")
    if name not in _NUMBERS or tuple(write.size) != shape:
        return None
    given = {{"from": "a", "to": "b"}.get(k, k): v for k, v in write.kwargs.items()}
    numbers = {**_NUMBERS[name], **dict(zip(_NUMBERS[name], write.args, strict=False))}
    numbers.update((k, v) for k, v in given.items() if k in numbers)
    try:
        return _LAWS[name](numbers, shape)
    except (IsoinitError, ValueError, TypeError):  # no such law, or not of ours
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
    fan = fan_in if n["mode"].lower() == "fan_in" else fan_out
    gain = nn.init.calculate_gain(n["nonlinearity"], n["a"])
    return _of_std(gain / math.sqrt(fan), uniform=uniform)


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


def _sample(values: torch.Tensor, without: int | None = None) -> Array:
    """At most about `SAMPLE` of the values, spread over all, without one row."""
    if without is not None:
        values = torch.cat([values[:without], values[without + 1 :]])
    flat = values.detach().reshape(-1)
    return np.asarray(flat[:: max(1, flat.numel() // SAMPLE)].double().numpy(), dtype=np.float64)


def _zero_row(values: torch.Tensor) -> int | None:
    """The one row that is zero throughout, if there is just one."""
    if values.dim() < 2 or len(values) < 2:
        return None
    rows = (values.reshape(len(values), -1) == 0).all(dim=1).nonzero()
    return int(rows[0]) if len(rows) == 1 else None


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
    """The law of scale · x + shift."""
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
    """Whether values look like draws from a law: mean, spread and bounds."""
    if isinstance(law, Orthogonal):
        gain = None if whole is None else _orthogonal_gain(whole)
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
        mean = float(x.mean())  # the closed form is not needed: the bounds and the spread decide
    elif isinstance(law, Normal):
        mean = law.mean
    error = std / math.sqrt(x.size)
    return bool(
        abs(x.mean() - mean) <= ERRORS * error + slack
        and (x.size < 30 or abs(x.std() - std) <= ERRORS * error + slack)
    )


def _orthogonal_gain(values: torch.Tensor) -> float | None:
    """The gain of a matrix whose shorter side is orthonormal up to it; None if it is not."""
    matrix = values.detach().reshape(len(values), -1).float()
    if min(matrix.shape) < 2:
        return None
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    square = float(gram.diagonal().mean())
    if square <= 0:
        return None
    off = (gram / square - torch.eye(len(gram))).abs().max()
    return math.sqrt(square) if float(off) < 0.02 else None


def _constant_value(values: torch.Tensor) -> float:
    """The value, as the shortest number that the type rounds to it: 0.1 and not 0.10000000149."""
    if not values.numel():
        return 0.0
    value = float(values.reshape(-1)[0])
    return value if values.dtype == torch.float64 else float(str(np.float32(value)))


def _constant(values: torch.Tensor) -> Initializer:
    value = _constant_value(values)
    known: dict[float, Initializer] = {0.0: Zeros(), 1.0: Ones()}
    return known.get(value, Constant(value) if values.numel() else Zeros())


def _table(values: torch.Tensor) -> Found:
    """A table that is the same at every run: an initializer that gives just it, if there is one."""
    shape = tuple(values.shape)
    numbers = values.detach().double().numpy()
    candidates: list[tuple[Initializer, str]] = []
    if len(shape) == 2:
        gain = float(numbers.flat[0])
        candidates.append((Identity(gain), f"wrote {gain:g} times the identity"))
    elif len(shape) > 2:
        candidates.append((Dirac(), "wrote a convolution that passes its input on"))
    else:
        value = float(numbers.sum())
        for gates in (n for n in (2, 3, 4) if len(numbers) % n == 0):
            size = len(numbers) // gates
            for gate in range(gates):
                value = float(numbers[gate * size])
                words = f"wrote {value:g} into the {gate + 1}. of {gates} parts and 0 elsewhere"
                candidates.append((GateBias(value, gate, gates), words))
    for candidate, words in candidates:
        out = np.empty(numbers.size)
        try:
            candidate.fill(out, Stream(0, "table"), fans.of_tensor(shape))
        except IsoinitError:
            continue
        if np.array_equal(out.reshape(shape), numbers):
            return Found(candidate, words, whole=True)
    low, high = numbers.min(), numbers.max()
    return Found(
        None, f"writes the same table at every run ({low:.4g} to {high:.4g}), no initializer's"
    )


def _estimated(runs: Sequence[torch.Tensor]) -> Found:
    """The law that pooled values of several runs look like."""
    gains = [_orthogonal_gain(run) if run.dim() > 1 else None for run in runs[:2]]
    if None not in gains:
        gain = float(f"{gains[0]:.4g}")
        return Found(Orthogonal(gain), f"drew an orthogonal matrix, gain {gain:g}", whole=True)
    rows = {_zero_row(run) for run in runs}
    row = rows.pop() if len(rows) == 1 else None
    x = np.concatenate([_sample(run, row) for run in runs])
    count = f"{x.size:,} values"
    if x.size < ENOUGH:
        return Found(None, f"drew random values, too few to tell their law ({count})")
    for candidate in _candidates(np.sort(x), _precision(runs[0].dtype)):
        return Found(
            candidate, f"drew values like {_words(candidate)} (estimated from {count})", row
        )
    summary = f"mean {x.mean():.4g}, std {x.std():.4g} over {count}"
    return Found(None, f"drew from a law that no initializer has ({summary})")


def _candidates(x: Array, precision: float) -> list[Initializer]:
    """The laws that sorted values are not too far from, the plainest first."""
    n, mean, std = x.size, float(x.mean()), float(x.std())
    found: list[Initializer] = []
    margin = 3 * (x[-1] - x[0]) / n + precision * float(np.abs(x).max())
    low, high = _rounded(float(x[0]), margin), _rounded(float(x[-1]), margin)
    if abs(low + high) <= 2 * margin:
        high = _rounded(max(-float(x[0]), float(x[-1])), margin)
        low = -high
    if low < high and _gap(x, lambda v: np.clip((v - low) / (high - low), 0, 1)) < LARGEST_GAP:
        found.append(Uniform(low, high))
    error = std / math.sqrt(n)
    centre = 0.0 if abs(mean) < 4 * error else _rounded(mean, 2 * error)
    spread = _rounded(std, 2 * error / math.sqrt(2))
    if _gap(x, lambda v: _normal_cdf((v - centre) / spread)) < LARGEST_GAP:
        found.append(Normal(centre, spread))
    elif (cut := _cut(float(np.abs(x - centre).max()) / std)) is not None:
        before = std / TruncatedNormal(0.0, 1.0, -cut, cut).std_for(fans.vector((1,)))
        law = TruncatedNormal(centre, _rounded(before, 2 * error), -cut, cut)
        mass = 2 * float(_normal_cdf(np.array([cut]))[0]) - 1
        if (
            _gap(x, lambda v: (_normal_cdf((v - centre) / law.std) - (1 - mass) / 2) / mass)
            < LARGEST_GAP
        ):
            found.append(law)
    return found


def _cut(ratio: float) -> float | None:
    """Where a normal was cut whose largest value is `ratio` of its deviations after the cut."""
    low, high = 0.5, FAR
    for _ in range(50):
        middle = (low + high) / 2
        after = TruncatedNormal(0.0, 1.0, -middle, middle).std_for(fans.vector((1,)))
        low, high = (middle, high) if middle / after < ratio else (low, middle)
    return _rounded(low, 0.02) if 0.6 < low < FAR - 0.1 else None


def _gap(x: Array, cdf: Callable[[Array], Array]) -> float:
    """Kolmogorov's statistic times the root of the number of values."""
    n = x.size
    expected = cdf(x)
    steps = np.arange(1, n + 1) / n
    return float(max((steps - expected).max(), (expected - steps + 1 / n).max()) * math.sqrt(n))


def _normal_cdf(z: Array) -> Array:
    return np.asarray(torch.special.ndtr(torch.from_numpy(np.ascontiguousarray(z))).numpy())


def _rounded(value: float, margin: float) -> float:
    """The number of fewest digits within a margin of a value."""
    for digits in range(1, 8):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= margin:
            return short
    return value


def _words(law: Initializer) -> str:
    if isinstance(law, Normal):
        return f"normal, mean {law.mean:.4g}, std {law.std:.4g}"
    if isinstance(law, Uniform):
        return f"uniform, {law.a:.4g} to {law.b:.4g}"
    if isinstance(law, TruncatedNormal):
        cut = f"cut at {law.a:.4g} and {law.b:.4g} std"
        return f"normal, mean {law.mean:.4g}, std {law.std:.4g}, {cut}"
    gain = getattr(law, "gain", 1.0)
    return f"an orthogonal matrix, gain {gain:.4g}"
