"""Units that compute the same, and weights that fewer directions pass through than they have."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.remedy import mend

SAME = "units that start identical receive identical gradients and stay so"
# Two units in a thousand with the same weights are no chance, but do little harm; beyond one in
# twenty the layer is smaller than it was built.
FEW, MANY = 0.0, 0.05
# Independent entries give an effective rank of mn/(m + n), sparse and structured weights less; a
# tenth of it is a weight that was built from a few directions.
LOW = 0.1


def symmetry(facts: Facts) -> Iterator[Finding]:
    """Weight matrices whose units are all identical, and get identical gradients."""
    names = [name for name in facts.weights if _stays_one(facts, name)]
    if names:
        yield Finding(
            "symmetry",
            "error",
            tuple(names),
            float(len(names)),
            0.0,
            SAME,
            mend(facts, names),
            f"{listed(names)}: all units of the layer have the same weights and get the same "
            "gradient, so symmetry stays unbroken and the layer learns no more than one unit",
        )


def twins(facts: Facts) -> Iterator[Finding]:
    """Units that have the same weights as another of their layer."""
    for name, weight in facts.weights.items():
        role, lasting = facts.roles[name], facts.ahead.alike.get(name, 0.0) > MANY
        share = max(weight.twins, float(weight.identical))
        if not role.must_differ or share <= FEW or weight.largest == 0 or _stays_one(facts, name):
            continue
        if role.motif is not None and role.motif.name == "sub-pixel":
            continue  # ICNR starts the pixels of one place alike (Aitken et al. 2017)
        what = (
            "and get the same gradient"
            if lasting
            else "but not the same gradient: they start as one function, and training separates them"
        )
        yield Finding(
            "duplicated units",
            "error" if lasting else "warning",
            (name,),
            share,
            MANY if lasting else FEW,
            "units with the same weights compute the same function",
            mend(facts, [name]),
            f"{name}: {share:.0%} of the units have the same weights as another one, {what}",
        )


def constant(facts: Facts) -> Iterator[Finding]:
    """Weights of one number that is not zero, where each unit reads inputs of its own."""
    names = [
        name
        for name, weight in facts.weights.items()
        if weight.std == 0 < weight.largest
        and facts.roles[name].must_differ
        and math.prod(facts.roles[name].layout.maps_shape[2:]) > 1
        and not weight.identical
    ]
    if names:
        yield Finding(
            "constant weight",
            "warning",
            tuple(names),
            float(len(names)),
            0.0,
            "a filter of equal entries sees only the mean of its input",
            mend(facts, names),
            f"{listed(names)}: all entries are the same number",
        )


def same_function(facts: Facts) -> Iterator[Finding]:
    """Units with other weights that still give the same output and get the same gradient."""
    named = {name for finder in (symmetry, twins) for f in finder(facts) for name in f.where}
    found = {
        layer: share
        for layer, share in facts.ahead.twins.items()
        if share > MANY and not {layer, f"{layer}.weight"} & named
    }
    if found:
        worst = max(found.values())
        yield Finding(
            "same function",
            "error",
            tuple(found),
            worst,
            MANY,
            SAME,
            "look for constant weights before or after these layers; " + mend(facts, found),
            f"{listed(list(found))}: {worst:.0%} of the units give the same output and get the same "
            "gradient as another unit, everywhere in the batch",
        )


def low_rank(facts: Facts) -> Iterator[Finding]:
    """Weights whose singular values are nearly all zero."""
    for name, weight in facts.weights.items():
        role = facts.roles[name]
        whole = "weight" in role.slot and not role.composed
        if not whole or not math.isfinite(weight.rank) or weight.full < 4:
            continue
        if weight.rank < LOW * weight.full and not weight.twins:
            yield Finding(
                "low rank",
                "warning",
                (name,),
                weight.rank,
                LOW * weight.full,
                "Roy & Vetterli 2007; a direction without a singular value carries nothing",
                f"draw independent or orthogonal entries: {facts.words.init}",
                f"{name}: its effective rank is {weight.rank:.1f}, and independent entries would have "
                f"{weight.full:.0f}",
            )


def _stays_one(facts: Facts, name: str) -> bool:
    """Whether all units of a weight start the same, and training leaves them so.

    Outputs that get the same gradient, as those of classes that the batch does not have, differ on
    other examples, and gates that do may gate the same. Only if all do, it is a fault.
    """
    share = facts.ahead.alike.get(name, 0.0)
    some = not facts.is_meant(name)
    return facts.weights[name].identical and share > (MANY if some else 1 - 1e-9)
