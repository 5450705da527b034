"""Checks of a sample against an exact law, and of samples against each other.

A sample is counted in cells, and the law says the probability of each cell. Of float32 and float64
values a cell is 2**-12 standard units wide; of 16-bit ones it is a representable value, with the
mass of the law that rounds to it. So nothing below is approximate about the type.

Each check returns a p-value: the chance that a sample of the law lies as far off. A test takes
`ALARM` for its false-alarm rate: a correct library fails it under one seed in a million.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from scipy.special import erfc
from scipy.stats import chi2, kstwobign, poisson

ALARM = 1e-6
UNIT, REACH = 2.0**-12, 8  # cells of float32 and float64: width, and where the last ones end
CHUNK = 2**17  # values that stay in the cache
BEYOND = "beyond the law's bounds or 8 standard units, infinite, or not a number"


class Tally(NamedTuple):
    """Cells in ascending order: a value in each in standard units, its probability, its count."""

    values: np.ndarray
    chances: np.ndarray
    counts: np.ndarray


def tally(fill, law, size, dtype="float32", loc=0.0, scale=1.0, low=-math.inf, high=math.inf):
    """Count `size` values of `fill(out, start)`, for which (x - loc) / scale should follow `law`.

    Args:
        fill: writes the elements from `start` on into `out`; uint16 stands for bfloat16.
        law: a frozen distribution of `scipy.stats`.
        size, dtype: how many values of which type.
        loc, scale: what makes the law standard; within 8 of its units, but for 16-bit values.
        low, high: the bounds, beyond which no 16-bit value may lie.
    """
    coarse = dtype in ("float16", "uint16")
    out, counts = np.empty(CHUNK, dtype), np.zeros(2**16, np.int64)
    for start in range(0, size, CHUNK):
        fill(out, start)
        if coarse:
            _count(out.view(np.uint16), 0.0, 1.0, 0.0, counts)
        else:
            within = _count(out, loc, 1 / scale / UNIT, REACH / UNIT, counts)
            assert within, BEYOND  # 1e-15 of a normal
    if not coarse:
        left = np.arange(counts.size) * UNIT - REACH
        return Tally(left + UNIT / 2, _chances(law, left[1:]), counts)
    bits = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # not every pattern is a number
        values = (from_bfloat16(bits) if dtype == "uint16" else bits.view(np.float16)).astype(float)
    kept = (values >= low) & (values <= high) & np.isfinite(values)
    assert not counts[~kept].any(), BEYOND
    values, cell = np.unique(values[kept], return_inverse=True)  # -0 is 0
    counts = np.bincount(cell, counts[kept]).astype(np.int64)
    z = (values - loc) / scale
    return Tally(z, _chances(law, (z[1:] + z[:-1]) / 2), counts)


@numba.njit
def _count(values, loc, scale, first, counts):
    """Count each value in its cell; false at one that lies in none."""
    for value in values:
        cell = (float(value) - loc) * scale + first
        if not 0 <= cell < counts.size:
            return False
        counts[int(cell)] += 1
    return True


def _chances(law, edges):
    """The masses up to the first edge, between edges, and above the last."""
    below, above = law.cdf(edges), law.sf(edges)  # of small masses neither loses digits
    low = np.diff(below, prepend=0, append=1)
    return np.where(np.append(below, 1) < 0.5, low, -np.diff(above, prepend=1, append=0))


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


# ---------------------------------------------------------------- a sample and its law


def moments(sample):
    """The first four moments; the standard error of each is exact, from the law's first eight."""
    size, chances = sample.counts.sum(), []
    z = np.clip(sample.values, -1e4, 1e4)  # bfloat16 reaches 1e38, whose eighth power is infinite
    for power in range(1, 5):
        x = z**power
        mean = sample.chances @ x
        error = math.sqrt((sample.chances @ x**2 - mean**2) / size)
        chances.append(_two_sided((sample.counts @ x / size - mean) / error))
    return _least(chances)


def kolmogorov_smirnov(sample):
    """The largest distance between the distribution functions, at the cells' ends."""
    size = sample.counts.sum()
    distance = np.abs(np.cumsum(sample.counts) / size - np.cumsum(sample.chances)).max()
    return float(kstwobign.sf(math.sqrt(size) * distance))


def anderson_darling(sample):
    """The squared distance weighted by 1 / (F (1 - F)), so that both tails count; for fine cells.

    A² is a sum of χ² of one degree with weights 1 / (j (j + 1)) (Anderson and Darling 1952), so
    P(A² > x) → √3 erfc(√x) (Zolotarev 1961: the largest weight is 1/2, and the others contribute
    Π (1 - 2 / (j (j + 1)))^(-1/2) = √3). At the published 1 % point, 3.857, that is 0.95 %.
    """
    size = sample.counts.sum()
    found, law = np.cumsum(sample.counts)[:-1] / size, np.cumsum(sample.chances)[:-1]
    above = np.cumsum(sample.chances[::-1])[-2::-1]
    held = (law > 0) & (above > 0)
    found, law, above = found[held], law[held], above[held]
    share = (sample.chances[:-1][held] + sample.chances[1:][held]) / 2
    squared = size * np.sum(share * (found - law) ** 2 / (law * above))
    return min(1.0, math.sqrt(3) * math.erfc(math.sqrt(squared)))


def chi_square(sample, least=2.0**-14):
    """Every cell; those of less mass than `least` are taken together with their neighbours.

    Float32 deviates cannot give the far smaller cells about zero their own share: a value halfway
    between two goes to the even one, which shows where a cell holds few float32 values.
    """
    starts, mass = [0], 0.0
    for cell, chance in enumerate(sample.chances):
        if mass >= least:
            starts.append(cell)
            mass = 0.0
        mass += chance
    if mass < least:
        starts.pop()
    counts = np.add.reduceat(sample.counts, starts)
    expected = np.add.reduceat(sample.chances, starts) * counts.sum()
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(starts) - 1))


def tails(sample, bounds=(3, 4, 4.5, 5)):
    """The counts beyond each bound, below and above, against Poisson's law."""
    chances = []
    for bound in bounds:
        for beyond in (sample.values < -bound, sample.values > bound):
            count, mean = sample.counts[beyond].sum(), sample.chances[beyond].sum()
            mean *= sample.counts.sum()
            chances.append(2 * min(poisson.cdf(count, mean), poisson.sf(count - 1, mean)))
    return _least(chances)


# ---------------------------------------------------------------- independence


def lagged(draw, size, lags):
    """Correlations of z and z² with those `lag` elements on; `draw(start, count)` gives the z."""
    reach, linear, square = max(lags), dict.fromkeys(lags, 0.0), dict.fromkeys(lags, 0.0)
    for start in range(0, size, CHUNK):
        z = draw(start, CHUNK + reach)
        s = (z * z - 1) * np.float32(math.sqrt(0.5))
        for lag in lags:
            linear[lag] += float(z[:CHUNK] @ z[lag : lag + CHUNK])
            square[lag] += float(s[:CHUNK] @ s[lag : lag + CHUNK])
    sums = [*linear.values(), *square.values()]
    return _least([_two_sided(total / math.sqrt(size)) for total in sums])


def related(rows):
    """The correlations of all pairs of rows: the largest, their sum, and the sum of their squares.

    The entries of `rows` have mean 0 and variance 1. One pair that is related shows in the largest,
    a little of something common to all in the sum, many pairs in the squares.
    """
    size = rows.shape[1]
    z = (rows @ rows.T / np.float32(math.sqrt(size)))[np.triu_indices(len(rows), 1)]
    z = z.astype(np.float64)
    squares = float(z @ z)
    return _least(
        [
            z.size * _two_sided(np.abs(z).max()),
            _two_sided(z.sum() / math.sqrt(z.size)),
            2 * min(chi2.sf(squares, z.size), chi2.cdf(squares, z.size)),
        ]
    )


def fair(ones, tosses):
    """Counts of ones among tosses of a fair coin: the largest deviation, and all together."""
    z = (2 * np.asarray(ones, np.float64).ravel() - tosses) / math.sqrt(tosses)
    squares = float(z @ z)
    return _least(
        [
            z.size * _two_sided(np.abs(z).max()),
            2 * min(chi2.sf(squares, z.size), chi2.cdf(squares, z.size)),
        ]
    )


def _two_sided(z):
    return float(erfc(abs(z) / math.sqrt(2)))


def _least(chances):
    """Of several p-values the smallest, paid for by their number (Bonferroni)."""
    return min(1.0, len(chances) * min(chances))
