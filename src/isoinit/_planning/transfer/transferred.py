"""The plan of a larger model, from the plan of a smaller one and what is read of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from isoinit._planning.charts import FOLLOWING
from isoinit._planning.decide import Decided
from isoinit._planning.measured import Runs
from isoinit._planning.plan import Plan
from isoinit._planning.transfer.depth import deeper
from isoinit._planning.transfer.equations import system
from isoinit._planning.transfer.forwards import Offsets, constants, matched
from isoinit._planning.transfer.gauges import gauges
from isoinit._planning.transfer.growth import Growth, absolute, growths, side_by_side
from isoinit._planning.transfer.lines import shift
from isoinit._planning.transfer.rules import Grown, Rules, decays, factors
from isoinit._planning.transfer.ties import tie, tie_alone
from isoinit._planning.transfer.told import computed, kept, reason, streams, unplaced
from isoinit._planning.transfer.twins import twins
from isoinit._planning.verbs import override
from isoinit._reading.roles import Role
from isoinit._writing.entry import Entry
from isoinit._writing.factors import Factors, Setting
from isoinit.errors import ArgumentError
from isoinit.initializers import Constant, Initializer, KinkBias

SAME = 1e-9  # relative difference of scales that rounding leaves


@dataclass(frozen=True)
class Planned:
    """A model with what was read of it, and what it gets.

    Attributes:
        runs: the model on the example that it was read with.
        plan: what each parameter gets.
        decided: what was read and decided for that.
    """

    runs: Runs
    plan: Plan
    decided: Decided


def transferred(base: Planned, target: Planned, rules: Rules, called: str) -> Plan:
    """Return the target's plan with the factors of all its parameters, and the scales to them.

    Args:
        base: the smaller model with its plan.
        target: the larger one, planned alike.
        rules: what was asked for.
        called: the base, in words.

    Raises:
        PlanError: if the models differ in more than width and depth, or the base is the larger one.
    """
    before, after = base.decided, target.decided
    twin = twins(before.roles, after.roles)
    beside = side_by_side(before.graph, after.graph, twin)
    grown = growths(before.roles, after.roles, twin, beside)
    pairs = matched(before.graph, after.graph, twin)
    offsets = constants(before.graph, after.graph, pairs)
    tie(offsets, before.graph, after.graph, pairs, twin)
    branches = deeper(before.graph, after.graph, pairs, rules.power, offsets)
    starts = {name: base.plan.entries[twin[name]] for name in grown}
    return _planned(target, rules, called, starts, grown, branches, offsets)


def transferred_alone(target: Planned, rules: Rules, unit: float) -> Plan:
    """Return the plan of one model with factors by its own widths, as if tuned at a width of `unit`.

    Args:
        target: the model.
        rules: what was asked for.
        unit: the width of hidden layers for which the settings hold.
    """
    roles, graph = target.decided.roles, target.decided.graph
    weights = {
        name: use.parameter
        for name in roles
        for op, _ in graph.uses_of(name)[:1]
        for use in op.uses
        if use.slot == "weight"
    }
    grown = {n: absolute(role, unit, roles.get(weights.get(n, ""))) for n, role in roles.items()}
    offsets = Offsets(
        notes=[
            "there is no base to compare with: heads of attention and the number of branches count as "
            "they are, and constants of the forward count as meant"
        ]
    )
    tie_alone(offsets, target.decided, unit)
    return _planned(target, rules, f"hidden width {unit:g}", {}, grown, {}, offsets)


def _planned(
    target: Planned,
    rules: Rules,
    called: str,
    starts: Mapping[str, Entry],
    grown: Mapping[str, Growth],
    branches: Mapping[str, float],
    offsets: Offsets,
) -> Plan:
    """Return the plan with factors, given what both models differ in."""
    graph, roles, entries = target.decided.graph, target.decided.roles, target.plan.entries
    held = {name: why for name in entries if (why := _held(target, starts.get(name), name))}
    made = system(graph, offsets.by_op, set(held))
    placed = gauges(graph, made)
    notes = [*offsets.notes, *unplaced(graph, offsets, placed, made), *streams(graph, placed)]
    notes += computed(graph, offsets, target.plan.entries)
    found: dict[str, Factors] = {}
    for name, growth in grown.items():
        start, entry = starts.get(name, entries[name]), entries[name]
        one = Grown(
            roles[name],
            growth,
            rules.shape_of(start.layout),
            rules.shape_of(entry.layout),
            branches.get(name, 1.0),
            placed.of(name),
            reason(offsets, placed, name),
        )
        found[name] = kept_factors(entry, one.role) if entry.kept else factors(rules, one)
        signal = next((op.outputs[0] for op, _ in graph.uses_of(name) if op.outputs), None)
        if signal is not None:
            found[name] = replace(found[name], signal=placed.of(signal))
    notes += kept(entries)
    given = _started_all(target, starts, found, notes)
    plan = replace(target.plan, entries=dict(entries))
    others = {name: new for name, new in given.items() if new != entries[name].initializer}
    override(plan, target.runs, target.decided, others)
    plan.entries.update((n, replace(e, factors=found[n])) for n, e in plan.entries.items())
    plan.transfer = Setting(
        rules.optimizer, rules.decay, rules.depth, called, tuple(dict.fromkeys(notes))
    )
    return plan


def _started_all(
    target: Planned,
    starts: Mapping[str, Entry],
    found: Mapping[str, Factors],
    notes: list[str],
) -> dict[str, Initializer]:
    """Return what the parameters start with that are filled; add to the notes which cannot follow."""
    given: dict[str, Initializer] = {}
    for name, its in found.items():
        entry = target.plan.entries[name]
        if entry.kept or entry.initializer is None:
            continue
        # A plan for the target alone has the root of the fan-in already.
        std = its.std * (1.0 if name in starts else math.sqrt(its.grown_in))
        added = shift(target.decided.graph, name)
        try:
            given[name] = started(starts.get(name, entry), entry, std, its.gauge, added)
        except ArgumentError as error:
            notes.append(f"{name!r} starts as in a plan without a transfer: {error}")
    return given


def _held(target: Planned, start: Entry | None, name: str) -> str:
    """Return why a parameter can have no gauge; "" if it can."""
    graph, entry = target.decided.graph, target.plan.entries[name]
    if entry.kept or entry.initializer is None:
        return "it is kept as it is"
    if name in graph.parts or name in graph.charts or name in graph.complex:
        return "a weight is computed of it"
    if target.decided.roles[name].guess:
        return "no run used it"
    first = entry.initializer if start is None else start.initializer
    if isinstance(first, KinkBias):  # its values follow from those of the weight beside it
        return ""
    try:
        if first is None or (shift(graph, name) and not first.is_constant):
            return "it starts at no constant"
        first.scaled(2.0)
    except ArgumentError as error:
        return str(error)
    return ""


def started(start: Entry, entry: Entry, std: float, gauge: float, shifted: float) -> Initializer:
    """Return what a parameter starts with: as its twin in the base, times its factor.

    Args:
        start: the entry of its twin.
        entry: its own, of a plan for the target alone.
        std: what its standard deviation is multiplied by, the gauge included.
        gauge: how many times larger it is stored.
        shifted: what the model adds to it before it uses it.

    Raises:
        ArgumentError: if that has no option that sets its size.
    """
    own, first = entry.initializer, start.initializer
    if own is None or first is None or entry.kept:
        raise ArgumentError("it is left as it was")
    if isinstance(own, FOLLOWING):
        return own
    if shifted:
        value = first.mean_for(start.layout) + shifted
        return first if gauge == 1 else Constant(value * gauge - shifted)
    if first.is_constant or first.is_fixed:
        return first if gauge == 1 else first.scaled(gauge)
    chosen = own if type(own) is type(first) else first
    times = first.std_for(start.layout) * std / chosen.std_for(entry.layout)
    return chosen if abs(times - 1) < SAME else chosen.scaled(times)


def kept_factors(entry: Entry, role: Role) -> Factors:
    """Return the factors of a parameter that keeps its values: ones."""
    kind = "frozen" if entry.kept == "frozen" else "kept"
    return Factors(kind, 1.0, 1.0, 1.0, 1.0, decays=decays(role), reason=entry.reason)
