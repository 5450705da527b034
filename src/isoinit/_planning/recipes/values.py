"""Which initializer a parameter got, from its values alone.

A constant, a table that is the same at every run, or random values. Random ones are pooled over runs
from several seeds. The simplest distribution that they are not too far from counts, with numbers of no
more digits than the values bear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from isoinit._drawing.streams import Stream
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
from isoinit.initializers.scale import fans

Array = npt.NDArray[np.float64]

SAMPLE = 2**20  # elements looked at of a larger parameter
ENOUGH = 1000  # with fewer values, no distribution is estimated
# Kolmogorov's statistic times the root of the number of values, which it exceeds once in 100,000.
LARGEST_GAP = 2.47
# A cut so far out takes two values in a billion, and `trunc_normal_` cuts at ±2 whatever the std.
FAR = 6.0


@dataclass(frozen=True)
class Found:
    """What a parameter got.

    Attributes:
        initializer: that of isoinit with the same distribution; None if there is none.
        seen: what was seen, in words: "drew normal, mean 0, std 0.02".
        padding: the row that is zero, where the others are random.
        whole: whether the initializer takes the parameter as (out, everything else), as torch does.
    """

    initializer: Initializer | None
    seen: str
    padding: int | None = None
    whole: bool = False


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
    if values.is_complex():
        return _complex(runs)
    if is_constant(values):
        return Found(_constant(values), f"wrote {_constant_value(values):g} everywhere")
    if len(runs) < 2 or all(torch.equal(values, other) for other in runs[1:]):
        return _table(values)
    return _estimated(runs)


def _complex(runs: Sequence[torch.Tensor]) -> Found:
    """What complex numbers were drawn from: both parts from one distribution, of mean zero."""
    first = runs[0].detach().reshape(-1)
    if is_constant(first):
        if not first.numel() or not first[0].imag:
            return from_values([first.real])
        return Found(None, f"wrote {first[0].item():g} everywhere")
    found = from_values([torch.view_as_real(run.detach().resolve_conj()) for run in runs])
    if found.initializer is None:
        return found
    if found.initializer.mean_for(fans.vector(())):
        return Found(None, f"{found.seen} for each part, and no initializer has that mean")
    law = found.initializer.scaled(math.sqrt(2))  # which gives each part half of the variance
    return replace(found, initializer=law, seen=f"{found.seen}, for each part")


def is_constant(values: torch.Tensor) -> bool:
    """Whether all elements are the same number; true of no element."""
    return not values.numel() or bool((values == values.reshape(-1)[0]).all())


def sample(values: torch.Tensor, without: int | None = None) -> Array:
    """At most about `SAMPLE` of the values, at equal steps, without one row."""
    if without is not None:
        values = torch.cat([values[:without], values[without + 1 :]])
    flat = values.detach().reshape(-1)
    return np.asarray(
        flat[:: max(1, flat.numel() // SAMPLE)].double().resolve_neg().numpy(), dtype=np.float64
    )


def zero_row(values: torch.Tensor) -> int | None:
    """The one row that is zero throughout, if there is just one."""
    if values.dim() < 2 or len(values) < 2:
        return None
    rows = (values.reshape(len(values), -1) == 0).all(dim=1).nonzero()
    return int(rows[0]) if len(rows) == 1 else None


def orthogonal_gain(values: torch.Tensor) -> float | None:
    """The gain of a matrix whose shorter side is orthonormal up to it; None if it is not."""
    matrix = values.detach().reshape(len(values), -1).float()
    if min(matrix.shape) < 2:
        return None
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    square = float(gram.diagonal().mean())
    if square <= 0:
        return None
    off = (gram / square - torch.eye(len(gram), device=gram.device)).abs().max()
    return math.sqrt(square) if float(off) < 0.02 else None


def words_for(law: Initializer) -> str:
    """A distribution with its numbers, in words."""
    if isinstance(law, Normal):
        return f"normal, mean {law.mean:.4g}, std {law.std:.4g}"
    if isinstance(law, Uniform):
        return f"uniform, {law.a:.4g} to {law.b:.4g}"
    if isinstance(law, TruncatedNormal):
        cut = f"truncated at {law.a:.4g} and {law.b:.4g} std"
        return f"normal, mean {law.mean:.4g}, std {law.std:.4g}, {cut}"
    gain = getattr(law, "gain", 1.0)
    return f"an orthogonal matrix, gain {gain:.4g}"


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
    numbers = values.detach().double().resolve_neg().numpy()
    candidates: list[tuple[Initializer, str]] = []
    if len(shape) == 2:
        gain = float(numbers.flat[0])
        candidates.append((Identity(gain), f"wrote {gain:g} times the identity"))
    elif len(shape) > 2:
        candidates.append((Dirac(), "wrote a convolution that returns its input"))
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
    """The distribution that pooled values of several runs look like."""
    gains = [orthogonal_gain(run) if run.dim() > 1 else None for run in runs[:2]]
    if None not in gains:
        gain = float(f"{gains[0]:.4g}")
        return Found(Orthogonal(gain), f"drew an orthogonal matrix, gain {gain:g}", whole=True)
    rows = {zero_row(run) for run in runs}
    row = rows.pop() if len(rows) == 1 else None
    x = np.concatenate([sample(run, row) for run in runs])
    count = f"{x.size:,} values"
    if runs[0].dtype in (torch.float32, torch.float64) and np.unique(x).size < 0.9 * x.size:
        return Found(None, f"drew values that repeat, unlike any initializer's ({count})")
    if x.size < ENOUGH:
        return Found(None, f"drew too few random values to estimate their distribution ({count})")
    precision = float(torch.finfo(runs[0].dtype).eps)
    if (law := _nearest(np.sort(x), precision)) is not None:
        return Found(law, f"drew values like {words_for(law)} (estimated from {count})", row)
    summary = f"mean {x.mean():.4g}, std {x.std():.4g} over {count}"
    return Found(None, f"drew from a distribution that no initializer has ({summary})")


def _nearest(x: Array, precision: float) -> Initializer | None:
    """The simplest distribution that sorted values are not too far from."""
    n, mean, std = x.size, float(x.mean()), float(x.std())
    thin = x[:: n // 20_000 + 1] if precision > 1e-4 else x  # short types repeat their values
    margin = 3 * (x[-1] - x[0]) / n + precision * float(np.abs(x).max())
    low, high = _rounded(float(x[0]), margin), _rounded(float(x[-1]), margin)
    if abs(low + high) <= 2 * margin:
        high = _rounded(max(-float(x[0]), float(x[-1])), margin)
        low = -high
    if low < high and _gap(thin, lambda v: np.clip((v - low) / (high - low), 0, 1)) < LARGEST_GAP:
        return Uniform(low, high)
    error = std / math.sqrt(n)
    centre = 0.0 if abs(mean) < 4 * error else _rounded(mean, 2 * error)
    spread = _rounded(std, 2 * error / math.sqrt(2))
    if _gap(thin, lambda v: _normal_cdf((v - centre) / spread)) < LARGEST_GAP:
        return Normal(centre, spread)
    if (cut := _cut(float(np.abs(x - centre).max()) / std)) is None:
        return None
    before = _rounded(std / _std_after(cut), 2 * error)
    mass = math.erf(cut / math.sqrt(2))
    gap = _gap(thin, lambda v: (_normal_cdf((v - centre) / before) - (1 - mass) / 2) / mass)
    return TruncatedNormal(centre, before, -cut, cut) if gap < LARGEST_GAP else None


def _std_after(cut: float) -> float:
    """The deviation of a standard normal cut at ±cut."""
    return TruncatedNormal(0.0, 1.0, -cut, cut).std_for(fans.vector((1,)))


def _cut(ratio: float) -> float | None:
    """Where a normal was cut whose largest value is `ratio` of its deviations after the cut."""
    low, high = 0.5, FAR
    for _ in range(50):
        middle = (low + high) / 2
        below = middle / _std_after(middle) < ratio
        low, high = (middle, high) if below else (low, middle)
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
