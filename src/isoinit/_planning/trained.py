"""Whether a model looks trained: traces that training leaves in its values, and no known fill.

A new model's norm layers scale by one number and shift by one. Its weight matrices are independent
draws: no direction stands out, no element is larger than a normal distribution has it, and a uniform
fill ends sharply at its bounds. Each parameter was written a few times. Only samples are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from isoinit._planning.before import has_values
from isoinit._reading.roles import Role
from isoinit._reading.torch.real import one_thread
from isoinit._reading.values import DISTINCT, ERRORS, FEW
from isoinit._writing.counted import writes_of

Array = npt.NDArray[np.float64]

SIDE = 64  # rows, or columns, that are looked at at the start of a weight and of its second half
MOST = 32  # parameters of a kind that are looked at
# The largest eigenvalue of independent draws, in the units of Tracy and Widom, exceeds ten once in a
# billion times; that of a matrix of rare large elements does so somewhat more often.
SPIKE = 10.0
# A uniform has kurtosis 1.8, a triangle 2.4, a normal cut at two standard deviations 2.4.
UNIFORM = 2.1
# Of uniform draws the tenth largest misses the bound by ten mean gaps; by 40 once in 10⁸ times.
TENTH, BLURRED = 10, 40.0
WRITES = 32  # of a constructor a parameter gets a few, of an optimizer one a step or more


def looks_trained(roles: Mapping[str, Role], parameters: Mapping[str, torch.Tensor]) -> str:
    """Return in words what makes a model look trained; "" if nothing does.

    Args:
        roles: what each parameter is for, of those to look at.
        parameters: the model's, by name.

    Source: Johnstone 2001, theorem 1.1, for the largest eigenvalue of independent draws.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        >>> looks_trained({}, dict(model.named_parameters()))
        ''
    """
    held = {
        name: p for name, p in parameters.items() if name in roles and p.numel() and has_values(p)
    }
    norms = [_norm_moved(name, roles, held) for name in held if _is_norm_scale(roles[name])]
    maps = [n for n in held if held[n].dim() > 1 and "weight" in roles[n].slot]
    weights = _no_fills([held[name] for name in _some(maps)])
    said = []
    if written := optimized(held):
        said.append(
            f"{len(written)} of {len(held)} parameters were written {WRITES} times or more since "
            "their creation"
        )
    if _most(norms):
        said.append(
            f"{sum(norms)} of {len(norms)} norm layers scale and shift each unit differently"
        )
    if _most(weights):
        said.append(f"{sum(weights)} of {len(weights)} sampled weights match no known random fill")
    return ", ".join(said)


def optimized(parameters: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the parameters that were written as an optimizer writes, if most of them were."""
    written = {name: writes_of(parameter) >= WRITES for name, parameter in parameters.items()}
    return [name for name, often in written.items() if often] if _most([*written.values()]) else []


def _most(found: Sequence[bool]) -> bool:
    return sum(found) > max(1, len(found) / 2)


def _some(names: Sequence[str]) -> Sequence[str]:
    return names[:: -(-len(names) // MOST) or 1]


def _is_norm_scale(role: Role) -> bool:
    return role.slot == "scale" and role.of_norm


def _sample(parameter: torch.Tensor) -> Array:
    """Return the start of a tensor and of its second half: of a matrix a part of both axes."""
    flat = parameter.detach()
    flat = flat.reshape(len(flat), -1) if flat.dim() > 1 else flat.reshape(1, -1)
    flat = torch.cat([torch.cat(_parts(rows, 1), 1) for rows in _parts(flat, 0)])
    if flat.is_complex():
        flat = torch.view_as_real(flat.resolve_conj()).flatten(1)
    return np.asarray(flat.cpu().double().resolve_neg().numpy(), np.float64)


def _parts(matrix: torch.Tensor, axis: int) -> list[torch.Tensor]:
    """Return what is looked at along an axis, as views: nothing else is copied."""
    size = matrix.shape[axis]
    if size <= 2 * SIDE:
        return [matrix]
    return [matrix.narrow(axis, start, SIDE) for start in (0, size // 2)]


def _is_spread(values: Array) -> bool:
    """Return whether numbers are finite and differ from each other, as random ones do."""
    enough = values.size >= FEW and bool(np.isfinite(values).all())
    return enough and np.unique(values).size >= DISTINCT * values.size


def _norm_moved(name: str, roles: Mapping[str, Role], held: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a norm layer's scale, and its shift if it has one, differ from unit to unit."""
    scale = _sample(held[name])
    place = name.rpartition(".")[0]
    shifts = [
        _sample(held[other])
        for other, role in roles.items()
        if role.slot == "shift" and other in held and other.rpartition(".")[0] == place
    ]
    return abs(float(scale.mean()) - 1) < 0.5 and all(map(_is_spread, [scale, *shifts]))


def _no_fills(weights: Sequence[torch.Tensor]) -> list[bool]:
    """Return which weights are no known random fill, of those that tell; none if all but one are one.

    The traces are looked for first: whether numbers repeat takes twice as long.
    """
    samples = [_told(weight) for weight in weights]
    traces = [_shows_training(values) for values in samples]
    if sum(traces) < 2:
        return []
    return [found for found, values in zip(traces, samples, strict=True) if _is_random(values)]


def is_no_fill(weight: torch.Tensor) -> bool:
    """Return whether a weight is none of the known random fills, as far as that can be told.

    Elements that repeat, sign aside, are no trace of training: a constructor wrote them.
    """
    values = _told(weight)
    return _shows_training(values) and _is_random(values)


def _told(weight: torch.Tensor) -> Array:
    """Return a sample of a weight without its empty rows and columns; nothing if it tells nothing."""
    values = _sample(weight) if weight.numel() else np.zeros((0, 0))
    if not np.isfinite(values).all():
        return np.zeros((0, 0))
    values = values[(values != 0).any(1)][:, (values != 0).any(0)]
    return values if min(values.shape, default=0) >= FEW else np.zeros((0, 0))


def _is_random(values: Array) -> bool:
    """Return whether the numbers of a sample that are not zero differ, sign aside."""
    return _is_spread(np.abs(values[values != 0]))


def _shows_training(values: Array) -> bool:
    """Return whether a sample has a trace that training leaves."""
    if not values.size:
        return False
    values = values / np.abs(values).max()
    even = _evened(values)
    if not np.isfinite(even).all():  # rows too small beside others to be squared
        return False
    return _stands_out(even) or _is_heavy(even[values != 0]) or _is_blurred(values)


@np.errstate(all="ignore")
def _evened(values: Array) -> Array:
    """Return a matrix whose rows, and then columns, have unit size: a fill may scale them apart."""
    rows = values / np.sqrt(np.square(values).mean(axis=1, keepdims=True))
    rows = rows - rows.mean()
    rows = rows / np.sqrt(np.square(rows).mean(axis=1, keepdims=True))
    return np.asarray(rows / np.sqrt(np.square(rows).mean(axis=0, keepdims=True)))


def _stands_out(values: Array) -> bool:
    """Return whether the largest singular value of an evened matrix exceeds that of draws.

    No eigenvalue of A·Aᵀ exceeds c where c·1 − A·Aᵀ is positive definite, as its Cholesky
    decomposition tells in a fifth of the time of eigenvalues.
    """
    one, two = math.sqrt(max(values.shape) - 1), math.sqrt(min(values.shape))
    rows = torch.from_numpy(values if values.shape[0] <= values.shape[1] else values.T)
    largest = (one + two) ** 2 + SPIKE * (one + two) * float((1 / one + 1 / two) ** (1 / 3))
    with one_thread():
        rest = largest * torch.eye(len(rows), dtype=rows.dtype, device="cpu") - rows @ rows.T
        return bool(torch.linalg.cholesky_ex(rest).info)


def _kurtosis(values: Array) -> float:
    squares = np.square(values)
    return float(np.square(squares).mean() / squares.mean() ** 2)


def _is_heavy(values: Array) -> bool:
    """Return whether some of them are larger than a normal distribution has them."""
    return _kurtosis(values) > 3 + ERRORS * math.sqrt(24 / values.size)


def _is_blurred(values: Array) -> bool:
    """Return whether values are uniform but for their ends, which a uniform fill has sharp."""
    sizes = np.abs(values - values.mean()).ravel()
    if _kurtosis(sizes) >= UNIFORM:
        return False
    tenth, largest = np.partition(sizes, [-TENTH, -1])[[-TENTH, -1]]
    return bool(sizes.size * (1 - tenth / largest) > BLURRED)
