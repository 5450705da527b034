"""Which torch parameters hold the same random values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from isoinit._reading.torch.look import look_at
from isoinit._verifying.sharded import whole


def equal_groups(parameters: Mapping[str, nn.Parameter], names: Sequence[str]) -> list[list[str]]:
    """Return those of some parameters that are equal and random, in groups."""
    found: list[tuple[torch.Tensor, list[str]]] = []
    memories = set()
    for name in names:
        parameter = parameters[name]
        values = whole(parameter).detach()
        if not hasattr(parameter, "full_tensor"):  # what is gathered has memory of its own
            if values.data_ptr() in memories:
                continue  # parameters over one memory are tied
            memories.add(values.data_ptr())
        same = next((group for first, group in found if _equal(first, values)), None)
        if same is None:
            found.append((values, [name]))
        else:
            same.append(name)
    return [group for first, group in found if len(group) > 1 and look_at(first).kind == "random"]


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    alike = one.dtype == other.dtype and one.device == other.device
    return alike and torch.equal(one, other)
