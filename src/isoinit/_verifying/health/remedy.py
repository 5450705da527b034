"""What to do about weights: the shortest call that fixes them, or why no plan changes them."""

from __future__ import annotations

from collections.abc import Iterable

from isoinit._showing.findings import listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.planned import Planned

OFF = 1.1  # a factor between standard deviations that no noise of a few hundred values makes


def mend(facts: Facts, where: Iterable[str]) -> str:
    """Return what to do about some layers or parameters, all at once.

    Never the plan that the weights have already.

    Args:
        facts: of the check.
        where: names of layers or parameters. What a plan keeps or cannot follow is named, if no plan
            changes anything else.
    """
    names = _trained(facts, where)
    if not_applied := apply_plan(facts, names):
        return not_applied
    changed = _off(facts, facts.choices, names)
    if not changed:
        return _no_plan(facts, names)
    to = _furthest(facts, facts.choices, changed)
    if len(changed) == 1:
        return f"{facts.words.only.format(changed[0])}; it sets {to}"
    return f"{_count(changed)} off: {facts.words.init}; it sets {to}"


def shrink(facts: Facts, where: Iterable[str]) -> str:
    """Return what to do about the weights of some layers that are larger than a plan makes them.

    Empty if none is: an overflow is then not the weights' doing, and no plan would mend it.
    """
    planned = {name: facts.choices.std(name) for name in _trained(facts, where)}
    large = [n for n, std in planned.items() if std and facts.weights[n].std > OFF * std]
    return mend(facts, large) if large else ""


def grow(facts: Facts, where: Iterable[str], by: float) -> str:
    """Return what to do about weights that a plan makes larger by a factor; empty if it makes none."""
    planned = {name: facts.choices.std(name) for name in _trained(facts, where)}
    small = [n for n, std in planned.items() if by * facts.weights[n].std < std]
    return mend(facts, small) if small else ""


def _trained(facts: Facts, where: Iterable[str]) -> list[str]:
    """The trained parameters that some names of layers or parameters stand for."""
    names = [n for x in where for n in (f"{x}.weight", x) if n in facts.weights]
    return list(dict.fromkeys(n for n in names if n in facts.trained))


def apply_plan(facts: Facts, names: Iterable[str]) -> str:
    """Return what to do where parameters are not as in the plan that was given; empty if all are."""
    if facts.given is None or not (changed := _off(facts, facts.given, names)):
        return ""
    to = _furthest(facts, facts.given, changed)
    return f"{_count(changed)} not as planned: {facts.words.apply}; {to}"


def _off(facts: Facts, plan: Planned, names: Iterable[str]) -> list[str]:
    """The parameters that a plan would change: their scale, or that their units are the same."""
    return [name for name in names if _is_off(facts, plan, name)]


def _is_off(facts: Facts, plan: Planned, name: str) -> bool:
    if plan.of(name) is None:
        return False
    weight, planned = facts.weights[name], plan.std(name)
    if planned == 0:
        return facts.roles[name].slot == "scale" and weight.largest == 0 and not plan.is_zero(name)
    return (
        bool(weight.identical or weight.twins or weight.std == 0)
        or _factor(facts, plan, name) > OFF
    )


def _furthest(facts: Facts, plan: Planned, names: Iterable[str]) -> str:
    """What a plan does with the parameter that is furthest from it."""
    name = max(names, key=lambda name: _factor(facts, plan, name))
    kind = type(plan.of(name)).__name__
    return f"{name} to std {plan.std(name):.3g} ({kind}), now {facts.weights[name].std:.3g}"


def _factor(facts: Facts, plan: Planned, name: str) -> float:
    """How far the scale of a parameter is from a plan's."""
    planned, now = plan.std(name), facts.weights[name].std
    if planned == 0 or now != now:
        return 1.0
    return max(planned / now, now / planned) if now else float("inf")


def _no_plan(facts: Facts, names: Iterable[str]) -> str:
    """Why no plan mends some parameters: which it keeps, and which it cannot follow."""
    kept = [name for name in names if name in facts.choices.kept]
    lost = [name for name in names if name in facts.choices.lost]
    said = [
        *([f"it keeps {listed(kept)} unless keep='nothing'"] if kept else []),
        *([f"it cannot follow the signal to {listed(lost)}"] if lost else []),
    ]
    but = f" ({' and '.join(said)})" if said else ""
    return (
        f"no plan changes these weights{but}: add a norm layer or residual branches, or use another "
        "activation"
    )


def _count(names: list[str]) -> str:
    return f"{len(names)} weights are" if len(names) > 1 else f"{names[0]} is"
