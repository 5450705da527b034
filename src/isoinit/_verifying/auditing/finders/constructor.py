"""What was written, but not with what the constructor gives."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import torch

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing import compare
from isoinit._verifying.auditing.facts import Facts


def written_over(facts: Facts) -> Iterator[Finding]:
    """Values that the constructor sets on purpose, and that a later part of it overwrites."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, lost in facts.lost.items():
        groups[lost.said, lost.first, lost.law, lost.second].append(name)
    told = [
        f"{listed(names)} ({said}, written at {first}, then {law} at {second})"
        for (said, first, law, second), names in groups.items()
    ]
    if told:
        yield Finding(
            "written over",
            "warning",
            tuple(facts.lost),
            float(len(facts.lost)),
            0.0,
            "a later pass over all modules also overwrites what the constructor of one of them chose",
            "leave these parameters out of the later pass, or write them after it",
            f"{listed(told)}: the constructor's own values are overwritten before the model is "
            "complete",
        )


def differs(facts: Facts) -> Iterator[Finding]:
    """Tensors that hold other numbers than the constructor gives them."""
    far: dict[str, float] = {}
    for name, values, there in _pairs(facts):
        if not _comparable(values, there):
            far[name] = math.inf
        elif name in facts.chance:
            if name in facts.meant and compare.is_constant(values):
                far[name] = compare.farthest(values, there)
        elif gap := compare.farthest(values, there):
            far[name] = gap
    if far:
        yield Finding(
            "differs from __init__",
            "warning",
            tuple(far),
            max(far.values()),
            compare.ROUNDING,
            "a value that only the constructor sets is lost if the constructor's values are not used",
            "set the same values in the initialization, or only there",
            f"{listed([_change(facts, n) for n in far])}: a model built directly on the CPU holds "
            "other values",
        )


def other_distribution(facts: Facts) -> Iterator[Finding]:
    """Random tensors that the model's own initialization draws from another distribution."""
    ratios: dict[str, float] = {}
    for name, values, there in _pairs(facts) if facts.own else ():
        told = name in facts.meant and compare.is_constant(values)  # by `differs`
        if name in facts.chance and not told and _comparable(values, there):
            ratio = compare.other_distribution(values, there)
            if ratio is not None:
                ratios[name] = ratio
    if ratios:
        yield Finding(
            "other distribution",
            "warning",
            tuple(ratios),
            max(ratios.values(), key=lambda r: abs(r - 1)),
            1.0,
            "mean and standard deviation are compared, with a false-alarm rate of 1e-9",
            "draw from the same distribution in the constructor and in the initialization",
            f"{listed([f'{n} ({r:.3g}×)' for n, r in ratios.items()])}: the constructor and the "
            "initialization draw from different distributions, with this ratio of standard deviations",
        )


def _pairs(facts: Facts) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """What the initialization wrote, and what the constructor gives, where both are known."""
    for name, values in facts.first.tensors.items():
        there = facts.before(name)
        if there is not None and name not in facts.missing:
            yield name, values, there


def _comparable(values: torch.Tensor, there: torch.Tensor) -> bool:
    return (there.shape, there.dtype) == (values.shape, values.dtype)


def _change(facts: Facts, name: str) -> str:
    values, before = facts.first.tensors[name], facts.number_before(name)
    if before is None:
        return name
    if name in facts.random or not compare.is_constant(values):
        return f"{name} ({before} there)"
    return f"{name} ({before} there, {values.reshape(-1)[0].item():.4g} here)"
