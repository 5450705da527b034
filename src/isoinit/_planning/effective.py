"""The tensor that an operation uses, where the model makes it of parameters.

A rule says what the tensor should be. The tensor is made again from samples of the parameters, and
the parameters get the scale that gives it its standard deviation: in closed form where the tensor is
proportional to a power of the scale, by bisection where it grows with the scale. Where it does
neither, the parameters are left as they are, and named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoinit._drawing.streams import Stream
from isoinit._planning.digits import rounded
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Array, Made, Part, ReplayError
from isoinit.errors import ArgumentError
from isoinit.initializers import Centred, HeNormal, Initializer, Normal, Zeros, bare
from isoinit.initializers.scale.fans import Layout

Fills = Mapping[str, Initializer | None]

DRAWN = 1 << 18  # elements up to which an initializer's own values are drawn; normal ones beyond
ENOUGH = 1 << 14  # elements that moments are taken from, in several draws if need be
FEW = 512  # units, and elements of a parameter, that chance is averaged over
MOST = 1 << 20  # elements drawn for it
LARGEST = 1 << 26  # elements of a tensor that is made again
# A tensor that grows by less than 2 to this power when its parameters double, or grow a thousandfold,
# is normalized but for an epsilon: its size is the model's own choice.
NORMALIZED = 0.05
WIDEST = 7.0  # scales between exp(-7) and exp(7) are tried


@dataclass(frozen=True)
class Moments:
    """The mean and the second moment of a tensor's elements, and what a row of them adds up to.

    Attributes:
        mean: of an element.
        second: of an element.
        along: the mean square of the sum over a unit's n inputs, over n times the second moment: 1 for
            independent elements of mean zero, 0 for rows that sum to zero.
    """

    mean: float
    second: float
    along: float = 1.0

    @property
    def variance(self) -> float:
        """Of an element."""
        return max(self.second - self.mean**2, 0.0)

    def strength(self, shared: float) -> float:
        """Return the root mean square of what an element adds to a sum over inputs of unit size.

        Args:
            shared: E[x]²/E[x²] of the inputs x: the part of them that is the same for all.
        """
        return math.sqrt(max(self.second * (1 + (self.along - 1) * shared), 0.0))


def moments_for(initial: Initializer, layout: Layout) -> Moments:
    """Return the moments of a parameter that is used as it is."""
    mean = initial.mean_for(layout)
    # Not std² alone: the last bits of this sum reach the digits that a plan keeps.
    second = initial.std_for(layout) ** 2 + mean**2
    if isinstance(bare(initial), Centred):
        return Moments(mean, second, along=0.0)
    return Moments(mean, second, 1 + (layout.fan_in - 1) * mean**2 / second if second else 1.0)


def moments_of(made: Made, fills: Fills) -> Moments | None:
    """Return the moments of a tensor whose parameters are filled with these; None if not known."""
    if _fault(made, {part.parameter: fills.get(part.parameter) for part in made.parts}):
        return None
    chosen = tuple(fills[part.parameter] for part in made.parts)
    bases = dict(zip((part.parameter for part in made.parts), chosen, strict=True))

    def measured() -> Moments:
        replay = _replay(made)
        with np.errstate(over="ignore", invalid="ignore"):
            tensors = [replay(draw) for draw in _draws(made, bases, exact=())]
        found = _measured(tensors, made.layout)
        return Moments(rounded(found.mean), rounded(found.second), rounded(found.along))

    try:
        found = _remembered(made, chosen, measured)
    except ReplayError:  # the choice, which asks first, says why
        return None
    return found if isinstance(found, Moments) else None


def solve(made: Made, wanted: Choice, fixed: Fills, shared: float) -> dict[str, Choice]:
    """Return what the parameters that make a tensor get, so that it is as a rule wants it.

    Args:
        made: how the tensor is made.
        wanted: the rule's choice for the tensor.
        fixed: what the parameters get that are decided already: scales, shifts, what others share.
        shared: see `Moments.strength`.

    Returns:
        A choice for each parameter that is not in `fixed`.
    """
    free = [part for part in made.parts if part.parameter not in fixed]
    initial = wanted.initializer
    if initial is None or not free:
        return {part.parameter: wanted for part in free}
    std = initial.std_for(made.layout)
    to_zero = std == 0 and initial.mean_for(made.layout) == 0
    if to_zero and (found := _zero(made, wanted, fixed)):
        return found
    own = len(free) == 1 and _fits(initial, free[0], made)
    bases: Fills = {**({free[0].parameter: initial} if own else _plain(free)), **fixed}
    size: Any = _fault(made, bases)
    if not size:
        # What the parameter alone would be as the weight: rows of mirrored weights sum to zero, too.
        goal = None if own else moments_for(initial, made.layout).strength(shared)
        names = tuple(part.parameter for part in free)
        known = (*(bases[part.parameter] for part in made.parts), goal, shared)
        try:
            size = _remembered(made, known, lambda: _size(made, bases, names, goal, shared))
        except ReplayError as error:
            size = str(error)
    if size is None:
        size, said = 1.0, "is normalized, so that its size is the model's own choice"
    elif not isinstance(size, str):
        said = f"gets the standard deviation {std:.3g}"
    if isinstance(size, str):
        reason = f"a weight is made of it, and {size}, so that no scale is known to be right"
        return {p.parameter: replace(wanted, initializer=None, reason=reason) for p in free}
    choice = replace(wanted, reason=f"{wanted.reason}; what is made of it {said}")
    if abs(size - 1) < (1e-6 if own else 0.02):  # sums of products are known to a percent or so
        size = 1.0
    found = {}
    for part in free:
        base = bases[part.parameter]
        assert base is not None, "the free ones have one"
        found[part.parameter] = replace(
            choice, initializer=base if size == 1 else base.scaled(size)
        )
    return found


def _plain(free: Sequence[Part]) -> dict[str, Initializer]:
    """Return what parameters get before they are scaled together."""
    return {p.parameter: HeNormal(gain=1.0) if p.layout.is_map else Normal() for p in free}


def _zero(made: Made, wanted: Choice, fixed: Fills) -> dict[str, Choice]:
    """Return what parameters get for a tensor to be zero: zero for the last of them, or else for all.

    Of a product one factor is zero, so that its gradient isn't. What is normalized is never zero:
    then nothing is returned.
    """
    free = [part for part in made.parts if part.parameter not in fixed]
    zeros: dict[str, Initializer] = {part.parameter: Zeros() for part in free}
    last = {**_plain(free), free[-1].parameter: Zeros()}
    for fills in (last, zeros):
        found = moments_of(made, {**fills, **fixed})
        if found is not None and found.second == 0:
            reason = f"{wanted.reason}; what is made of it is zero"
            return {n: replace(wanted, initializer=i, reason=reason) for n, i in fills.items()}
    return {}


def _fault(made: Made, fills: Fills) -> str:
    """Return why a tensor cannot be made again from what fills its parameters; "" if it can."""
    if made.replay is None:
        return made.reason
    if missing := [name for name, initial in fills.items() if initial is None]:
        return f"{missing[0]!r}, which it is made with, is left as it was"
    if any(math.prod(part.layout.shape) > LARGEST for part in made.parts):
        return "it is too large to be made again"
    return ""


def _fits(initial: Initializer, part: Part, made: Made) -> bool:
    """Return whether a parameter can hold what a tensor made of it alone is to hold."""
    whole = math.prod(part.layout.shape) == math.prod(made.layout.shape)
    if not initial._sizes or not (whole or made.function is not None):
        return False
    try:
        initial.std_for(part.layout)
    except ArgumentError:
        return False
    return True


def _size(
    made: Made, bases: Fills, free: Sequence[str], goal: float | None, shared: float
) -> float | str | None:
    """Return what to multiply the free parameters by for a tensor of this strength.

    None if the tensor does not depend on their size; in words why nothing is known to serve.
    """
    draws = _draws(made, bases, exact=free)
    at = [i for i, part in enumerate(made.parts) if part.parameter in free]

    def scaled(size: float) -> list[list[Array]]:
        return [[a * size if i in at else a for i, a in enumerate(draw)] for draw in draws]

    replay = _replay(made)

    def strength(size: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            tensors = [replay(draw) for draw in scaled(size)]
        return _measured(tensors, made.layout).strength(shared)

    if goal is None:
        alone = [draw[at[0]] for draw in draws]
        goal = _measured(alone, made.parts[at[0]].layout).strength(shared)
    one, two = (replay(scaled(size)[0]) for size in (1.0, 2.0))
    before, after = strength(1.0), strength(2.0)
    if not (math.isfinite(before) and math.isfinite(after)):
        return "it is not finite for weights of ordinary size"
    if before == 0 and after == 0:
        return "it is zero whatever its parameters are"
    power = math.log2(after / before) if before > 0 and after > 0 else math.nan
    far = strength(1024.0) / before if before > 0 else math.nan
    if abs(power) < NORMALIZED and abs(math.log2(far)) < NORMALIZED:
        return None
    if power > 0 and np.allclose(two, one * 2.0**power, rtol=1e-6, atol=1e-9 * after):
        return rounded((goal / before) ** (1 / round(power, 6)))
    return _bisected(strength, goal)


def _bisected(strength: Callable[[float], float], goal: float) -> float | str:
    """Return the scale at which a strength that grows with it reaches a goal."""
    steps = np.linspace(-WIDEST, WIDEST, 15)
    found = np.array([strength(math.exp(step)) for step in steps])
    known = np.isfinite(found)
    rises = bool((np.diff(found[known]) >= -1e-9 * np.abs(found[known][1:])).all())
    if not rises:
        return "its size does not grow with theirs"
    if not known[0] or not found[0] < goal < found[known][-1]:
        low, high = found[0], found[known][-1] if known.any() else math.inf
        return f"its size is between {low:.3g} and {high:.3g} whatever theirs is, not {goal:.3g}"
    low, high = -WIDEST, float(steps[known][-1])
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if strength(math.exp(middle)) < goal else (low, middle)
    return rounded(math.exp(low))


def _replay(made: Made) -> Callable[[Sequence[Array]], Array]:
    """Return what makes the tensor: element by element where one parameter's elements suffice."""
    function, replay = made.function, made.replay
    if function is not None:
        return lambda arrays: function(arrays[0])
    assert replay is not None, "a tensor without a fault can be made again"
    return replay


def _draws(made: Made, bases: Fills, *, exact: Sequence[str]) -> list[list[Array]]:
    """Return samples of the parameters, several times if they are small.

    Those named in `exact` are brought to the very size that they are meant to have.
    """
    size = max(math.prod(made.layout.shape), 1)
    units = size / math.prod(made.layout.maps_shape[2:])
    fewest = min(max(math.prod(part.layout.shape), 1) for part in made.parts)
    wanted = max(ENOUGH / size, FEW / max(units, 1.0), FEW / fewest)
    several = max(1, min(math.ceil(wanted), 32, MOST // size))
    draws = []
    for seed in range(several):
        arrays = []
        for place, part in enumerate(made.parts):
            initial = bases[part.parameter]
            assert initial is not None, "what is left as it was is a fault"
            array = _drawn(initial, part, seed * len(made.parts) + place)
            found = math.sqrt(float(np.square(array).mean())) if array.size else 0.0
            if part.parameter in exact and found > 0:
                array = array * (initial.std_for(part.layout) / found)
            arrays.append(array)
        draws.append(arrays)
    return draws


def _drawn(initial: Initializer, part: Part, seed: int) -> Array:
    """Return values as an initializer draws them, or normal ones of its moments if they are many."""
    shape, count = part.layout.shape, math.prod(part.layout.shape)
    if count <= DRAWN:
        array = np.empty(count)
        initial.fill(array, Stream(seed, "sample"), part.layout)
        return array.reshape(shape)
    normal = np.random.default_rng(seed).standard_normal(shape)
    return initial.mean_for(part.layout) + initial.std_for(part.layout) * normal


def _measured(tensors: Sequence[Array], layout: Layout) -> Moments:
    """Return the moments of samples of a tensor, of complex numbers those of their size.

    Of complex numbers Re + Im and Re - Im, whose squares are |w|² on average.
    """
    turned = [tensor.real - tensor.imag for tensor in tensors if np.iscomplexobj(tensor)]
    tensors = [tensor.real + tensor.imag for tensor in tensors] + turned
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean([tensor.mean() for tensor in tensors]))
        second = float(np.mean([np.square(tensor).mean() for tensor in tensors]))
        sums = [_row_sums(tensor, layout) for tensor in tensors]
        along = float(np.mean([np.square(row).mean() for row in sums]))
    if not math.isfinite(second):
        return Moments(mean, second)
    count = sum(row.size for row in sums)
    terms = math.prod(layout.shape) / max(sums[0].size, 1)
    along = along / (terms * second) if second else 1.0
    if abs(along - 1) < 5 * math.sqrt(2 / count):  # as independent elements would by chance
        along = 1.0
    if abs(mean) * math.sqrt(count * terms) < 5 * math.sqrt(second):
        mean = 0.0
    return Moments(mean, second, along)


def _row_sums(tensor: Array, layout: Layout) -> Array:
    """Return the sum over the inputs of each unit; of what has no inputs, its elements."""
    if tensor.shape != layout.shape or not layout.in_:
        return tensor.ravel()
    sums: Array = layout.to_maps(tensor).sum((2, 3))
    return sums


_known: dict[object, tuple[object, Made]] = {}


def _remembered(made: Made, what: object, compute: Callable[[], Any]) -> Any:
    """Return what was computed for a tensor made in this way: models repeat their layers."""
    key = (made.key, tuple((part.layout, part.kind) for part in made.parts), what)
    if key not in _known:
        if len(_known) > 512:
            _known.clear()
        _known[key] = (compute(), made)  # keeps what the key names by its identity
    return _known[key][0]
