"""Random tensors that hold the same bits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import nn

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing import compare
from isoinit._verifying.auditing.facts import Facts
from isoinit._verifying.auditing.ranks import digest
from isoinit._verifying.copies import copies_found

DRAW = "draw each from its own random numbers"


def identical(facts: Facts) -> Iterator[Finding]:
    """Random tensors that hold the same bits, and are neither tied nor copied on purpose."""
    groups: dict[object, list[str]] = defaultdict(list)
    seen: set[int] = set()
    for name, values in facts.first.tensors.items():
        if values.data_ptr() in seen:
            continue  # one memory under two tensors is a tie as well
        seen.add(values.data_ptr())
        if name in facts.random - facts.writes.copied and _tells(values):
            again = digest(facts.other.tensors[name]) if name in facts.other.tensors else ""
            groups[values.shape, values.dtype, digest(values), again].append(name)
    for names in groups.values():
        if len(names) > 1:
            yield Finding(
                "bit-identical",
                "error",
                tuple(names),
                float(len(names)),
                1.0,
                "tensors that should be drawn independently stay alike longer if they start equal",
                DRAW + "; if they are meant to be one parameter, tie them",
                f"{listed(names)}: drawn and not tied, but the same bits with every seed",
            )


def identical_slices(facts: Facts) -> Iterator[Finding]:
    """Stacks of random matrices, such as experts, that are all the same."""
    counts: dict[str, int] = {}
    for name, values in facts.first.tensors.items():
        conv = isinstance(facts.first.owners.get(name), nn.modules.conv._ConvNd)
        if name not in facts.random or conv or values.dim() < 3 or len(values) < 2:
            continue
        if _tells(values[0]) and all(compare.same(values[0], each) for each in values[1:]):
            counts[name] = len(values)
    if counts:
        told = [f"{name} ({count} slices)" for name, count in counts.items()]
        yield Finding(
            "identical slices",
            "error",
            tuple(counts),
            float(max(counts.values())),
            1.0,
            "experts or heads that start identical receive identical gradients and stay so",
            DRAW,
            f"{listed(told)}: drawn, but all slices along the first axis hold the same bits",
        )


def copies(facts: Facts) -> Iterator[Finding]:
    """Trained parameters that the constructor itself starts as copies of each other."""
    if not facts.own or facts.straight is None:
        return  # what a given initialization copies is copied on purpose
    held = facts.straight[0]
    groups: dict[object, list[str]] = defaultdict(list)
    memories = set()
    for name in held.tensors:
        values = held.tensors[name]
        trained = name in facts.chance and held.whole[name].requires_grad
        if trained and _tells(values) and values.data_ptr() not in memories:
            memories.add(values.data_ptr())  # one memory under two tensors is a tie
            groups[values.shape, values.dtype, digest(values)].append(name)
    yield from copies_found([g for g in groups.values() if len(g) > 1], held.tensors)


def _tells(values: torch.Tensor) -> bool:
    """Whether equal bits are no accident: two draws agree less than once in 10⁹ times."""
    real = values.is_floating_point() or values.is_complex()
    wide = values.numel() * values.element_size() * 4 >= 64  # at least half of the bits vary
    return real and wide and not compare.is_constant(values)
