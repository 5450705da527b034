"""Weights that are much larger or smaller than those beside them, or drawn for another function."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.remedy import mend
from isoinit.initializers.scale.fans import Layout

# Depth-scaled recipes change from a layer to the next by less than 1.5; three times is another scale.
APART = 3.0
WIDE = 5.0
# What torch's defaults give is 0.41 of He's, what transformers give with 0.02 as little as 0.2.
PLAUSIBLE = (0.2, 3.0)
ALIKE, CLOSE = 1.3, 1.2
FEWEST = 4  # other weights, to tell that one does not follow their rule
RULES: tuple[Callable[[Layout], float], ...] = (
    lambda _: 1.0,
    lambda layout: math.sqrt(layout.fan_in),
    lambda layout: math.sqrt(layout.fan_out),
    lambda layout: math.sqrt(layout.fan_in + layout.fan_out),
)
ENOUGH = 64  # entries for an estimate of a scale to 10 %

# The gains by which published recipes multiply 1/√fan (torch.nn.init.calculate_gain).
GAINS = {"tanh": 5 / 3, "relu": math.sqrt(2)}
# Before these, ReLU's gain is a mistake; before any other function, such as GELU, tanh's is.
NEVER_RELU_GAIN = ("tanh", "sigmoid", "softsign", "hardtanh", "selu", "erf")
GAIN_TOLERANCE = 0.02


def stands_out(facts: Facts) -> Iterator[Finding]:
    """A weight whose scale is far from that of its siblings or, without any, from every recipe.

    An error only beside siblings: a lone weight may be meant so, and what it does to the signal is
    measured.
    """
    for name, ratio, siblings, words in _outliers(facts):
        far = siblings and max(ratio, 1 / ratio) > WIDE
        yield Finding(
            "scale stands out",
            "error" if far else "warning",
            (name,),
            ratio,
            WIDE if far else APART,
            "every published recipe draws layers of one kind and shape at one scale",
            mend(facts, [name]),
            f"{name}: its standard deviation {facts.weights[name].std:.3g} is {_size(ratio)} {words}",
        )


class _Siblings:
    """The standard deviations of layers of one kind, in order: one look at a pair each is too many."""

    def __init__(self, stds: Sequence[float]) -> None:
        self._stds = sorted(stds)

    def nearest(self, std: float) -> float:
        """Return the one that is nearest to that of one of them, by ratio."""
        at = bisect_left(self._stds, std)
        beside = self._stds[max(at - 1, 0) : at] + self._stds[at + 1 : at + 2]
        return min(beside, key=lambda other: abs(math.log(other / std)))

    def is_minority(self, std: float) -> bool:
        """Return whether fewer of them are of this scale than of others."""
        first = bisect_left(self._stds, True, key=lambda other: std / other <= APART)
        last = bisect_left(self._stds, True, key=lambda other: other / std > APART)
        return last - first < len(self._stds) / 2


def _outliers(facts: Facts) -> Iterator[tuple[str, float, bool, str]]:
    """The weights that stand out: by how much, whether among siblings, and beside what."""
    stds = {
        name: facts.weights[name].std
        for name, role in facts.roles.items()
        if "weight" in role.slot
        and not role.made
        and math.prod(role.layout.shape) >= ENOUGH
        and not facts.weights[name].identical  # a constant has no scale
    }
    stds = {name: std for name, std in stds.items() if std > 0 and math.isfinite(std)}
    groups: dict[object, list[str]] = {}
    for name in stds:
        role = facts.roles[name]
        key = re.sub(r"\d+", "#", name), role.layout.shape, role.ends_branch
        groups.setdefault(key, []).append(name)
    for group in groups.values():
        siblings = _Siblings([stds[name] for name in group])
        for name in group:
            if len(group) > 2:
                ratio = stds[name] / siblings.nearest(stds[name])
                apart = max(ratio, 1 / ratio) > APART and siblings.is_minority(stds[name])
                if apart and not _is_as_planned(facts, name):
                    yield name, ratio, True, f"that of {len(group) - 1} layers of the same kind"
            elif (far := _implausible(facts, name, stds)) is not None:
                yield name, far, False, "what its fan-in and activation require"
            elif (odd := _odd_one_out(facts, name, stds)) is not None:
                yield (
                    name,
                    odd,
                    False,
                    "that of the nearest other layer, also after scaling by fans",
                )


def _size(ratio: float) -> str:
    return f"{ratio:.3g}×" if ratio > 1 else f"1/{1 / ratio:.3g}"


def _implausible(facts: Facts, name: str, stds: dict[str, float]) -> float | None:
    """How far a lone weight is from its plan; None where that or another weight confirms it."""
    std, others = stds[name], (s for other, s in stds.items() if other != name)
    if any(max(other / std, std / other) <= ALIKE for other in others):
        return None  # asked first: a plan takes as long as a good part of a step of training
    planned = facts.choices.std(name)
    if planned <= 0:
        return None
    ratio = std / planned
    if PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1] or (ratio < 1 and _may_be_small(facts, name)):
        return None
    return ratio


def _odd_one_out(facts: Facts, name: str, stds: dict[str, float]) -> float | None:
    """How far a weight is from all others of the model, by any rule that they may follow.

    A recipe makes standard deviations alike as they are, or by the fan-in, the fan-out, or both.
    """
    others = [other for other in stds if other != name]
    if len(others) < FEWEST:
        return None
    nearest = []
    for rule in RULES:
        sizes = {n: stds[n] * rule(facts.roles[n].layout) for n in stds}
        ratios = [sizes[name] / sizes[other] for other in others]
        nearest.append(min(ratios, key=lambda ratio: abs(math.log(ratio))))
    odd = min(nearest, key=lambda ratio: abs(math.log(ratio)))
    if (odd < 1 and _may_be_small(facts, name)) or 1 / APART <= odd <= APART:
        return None
    if facts.choices.of(name) is None:  # scaled for a signal that only a run tells
        return None
    return None if _is_as_planned(facts, name) else odd


def _is_as_planned(facts: Facts, name: str) -> bool:
    """Whether a weight has the scale that the plan gives it."""
    planned = (facts.given or facts.choices).std(name)
    return planned > 0 and 1 / CLOSE <= facts.weights[name].std / planned <= CLOSE


def _may_be_small(facts: Facts, name: str) -> bool:
    """Whether a weight may start as small as one likes.

    An output layer may, since what it gives is a guess (Zhang et al. 2019, section 3), and so may
    what starts at zero in other recipes, and a query that is learned: a softmax starts even then.
    """
    role = facts.roles[name]
    query = role.motif is not None and role.motif.name == "learned query"
    return role.end == "output" or query or facts.is_meant(name)


def wrong_gain(facts: Facts) -> Iterator[Finding]:
    """Weights whose scale is exactly the published one for another activation."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in facts.roles:
        if pair := _mismatch(facts, name):
            found.setdefault(pair, []).append(name)
    for (drawn, feeds), names in found.items():
        yield Finding(
            "wrong gain",
            "warning",
            tuple(names),
            GAINS[drawn],
            GAIN_TOLERANCE,
            "Glorot & Bengio 2010, section 4.2.1; He et al. 2015, eq. 10",
            mend(facts, names),
            f"{listed(names)}: the weights were drawn for {drawn}, but {feeds} follows",
        )


def drawn_for(facts: Facts, layers: Sequence[str]) -> str:
    """For which gain the weights of some layers were drawn, if not for that of what follows."""
    for layer in layers:
        for name in (f"{layer}.weight", layer):
            if name in facts.roles and (pair := _mismatch(facts, name)):
                return f"the weights were drawn for {pair[0]}, but {pair[1]} follows"
    return ""


def _mismatch(facts: Facts, name: str) -> tuple[str, str] | None:
    """The activation that a weight was drawn for, and the other one that follows it."""
    role, weight = facts.roles[name], facts.weights[name]
    if role.slot != "weight" or role.made or role.activation is None or not weight.std > 0:
        return None
    count = math.prod(role.layout.shape)
    tolerance = max(GAIN_TOLERANCE, 3 / math.sqrt(2 * count))
    drawn = "relu" if role.activation.name in NEVER_RELU_GAIN else "tanh"
    if tolerance > 3 * GAIN_TOLERANCE or role.activation.name == drawn:
        return None
    size = weight.std * math.sqrt(role.layout.fan_in)
    if abs(size / GAINS[drawn] - 1) >= tolerance:
        return None
    planned = facts.choices.std(name)  # which it may be by chance, for the signal that feeds it
    as_planned = planned > 0 and abs(weight.std / planned - 1) < tolerance
    return None if as_planned else (drawn, role.activation.name)
