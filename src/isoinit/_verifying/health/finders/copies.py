"""Parameters that start as copies of each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch

from isoinit._reading.torch.look import look_at
from isoinit._showing.findings import Finding
from isoinit._verifying.copies import copies_found
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.sharded import whole


def copies(facts: Facts) -> Iterator[Finding]:
    """Trained parameters that hold the same random values, and are not tied."""
    alike: dict[object, list[str]] = defaultdict(list)
    for name, parameter in facts.parameters.items():
        weight = facts.weights[name]
        bars = weight.histogram  # of a sample: what differs there needs no closer look
        if parameter.requires_grad and bars is not None and bars.low < bars.high:
            place = parameter.shape, parameter.dtype, parameter.device
            sample = weight.largest, bars.low, bars.high, *bars.counts
            alike[place, sample].append(name)
    groups = [g for names in alike.values() if len(names) > 1 for g in _equal(facts, names)]
    yield from copies_found(groups, facts.parameters)


def _equal(facts: Facts, names: list[str]) -> list[list[str]]:
    """Those of some parameters that are equal and random, in groups."""
    found: list[tuple[torch.Tensor, list[str]]] = []
    memories = set()
    for name in names:
        parameter = facts.parameters[name]
        values = whole(parameter).detach()
        if not hasattr(parameter, "full_tensor"):  # what is gathered has memory of its own
            if values.data_ptr() in memories:
                continue  # parameters over one memory are tied
            memories.add(values.data_ptr())
        same = next((group for first, group in found if torch.equal(first, values)), None)
        if same is None:
            found.append((values, [name]))
        else:
            same.append(name)
    return [group for first, group in found if len(group) > 1 and look_at(first).kind == "random"]
