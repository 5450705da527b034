"""Units that compute the same, and weights that fewer directions pass through than they have."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isoinit._reading.roles import Role
from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import APPLY, Facts

SAME = "units that start identical receive identical gradients and stay so"
# Two units in a thousand with the same weights are no chance, but do little harm; beyond one in
# twenty the layer is smaller than it was built.
FEW, MANY = 0.0, 0.05
# Independent entries give an effective rank of mn/(m + n), sparse and structured weights less; a
# tenth of it is a weight that was built from a few directions.
LOW = 0.1


def symmetry(facts: Facts) -> Iterator[Finding]:
    """Weight matrices whose units are all identical."""
    names = [
        name
        for name, role in facts.roles.items()
        if _matters(facts, role) and facts.weights[name].identical
    ]
    if names:
        yield Finding(
            "symmetry",
            "error",
            tuple(names),
            float(len(names)),
            0.0,
            SAME,
            "draw weights at random: " + APPLY,
            f"{listed(names)}: all units of the layer have the same weights, so symmetry stays "
            "unbroken and the layer learns no more than one unit",
        )


def twins(facts: Facts) -> Iterator[Finding]:
    """Units that have the same weights as another of their layer."""
    for name, role in facts.roles.items():
        share = facts.weights[name].twins
        if not _matters(facts, role) or share <= FEW or facts.weights[name].identical:
            continue
        if role.motif is not None and role.motif.name == "sub-pixel":
            continue  # ICNR starts the pixels of one place alike (Aitken et al. 2017)
        yield Finding(
            "duplicated units",
            "error" if share > MANY else "warning",
            (name,),
            share,
            MANY if share > MANY else FEW,
            "units with the same weights compute the same function",
            "draw each unit's weights independently: " + (facts.would_set(name) or APPLY),
            f"{name}: {share:.0%} of the units have the same weights as another one",
        )


def same_function(facts: Facts) -> Iterator[Finding]:
    """Units with other weights that still give the same output and get the same gradient."""
    named = {finding.where[0] for finder in (symmetry, twins) for finding in finder(facts)}
    named |= {name for finding in symmetry(facts) for name in finding.where}
    found = [
        layer
        for layer in facts.measured.layers
        if layer.twins > MANY
        and layer.rms > 0
        and f"{layer.name}.weight" not in named
        and layer.name not in named
    ]
    if found:
        worst = max(layer.twins for layer in found)
        names = [layer.name for layer in found]
        yield Finding(
            "same function",
            "error",
            tuple(names),
            worst,
            MANY,
            SAME,
            "look for weights before or behind these layers that are constant; " + APPLY,
            f"{listed(names)}: {worst:.0%} of the units give the same output and get the same "
            "gradient as another one, at every place of the batch",
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
                "draw its entries independently or orthogonally: "
                + (facts.would_set(name) or APPLY),
                f"{name}: signals pass through {weight.rank:.1f} directions of it, where independent "
                f"entries would give {weight.full:.0f}",
            )


def _matters(facts: Facts, role: Role) -> bool:
    return role.must_differ and role.parameter not in facts.silent
