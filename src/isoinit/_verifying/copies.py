"""Parameters that hold the same random values: how copies are reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from isoinit._showing.findings import Finding, listed


class Shaped(Protocol):
    """Anything that has a shape."""

    @property
    def shape(self) -> Sequence[int]:
        """The size along each axis."""
        ...


MEND = (
    "draw each separately: isoinit.init(model, batch); if the copy is intended and not trained, as a "
    "target network is, mark it with requires_grad_(False)"
)


def copies_found(
    groups: Sequence[Sequence[str]], tensors: Mapping[str, Shaped], advice: str = MEND
) -> Iterator[Finding]:
    """Yield one finding for groups of parameters, each of which holds the same random values.

    Biases beside weights that differ are left out, since the weights distinguish these layers.

    Args:
        groups: of names.
        tensors: all tensors of the model by name.
        advice: what to do; by default in the words of torch.
    """
    copied = {name for group in groups for name in group}
    maps = {name for name, tensor in tensors.items() if len(tensor.shape) > 1}
    apart = {_module(n) for n in maps - copied} - {_module(n) for n in copied & maps}
    groups = [g for g in groups if g[0] in maps or not apart.issuperset(map(_module, g))]
    names = tuple(name for group in groups for name in group)
    if not names:
        return
    yield Finding(
        "copies",
        "warning",
        names,
        float(len(names)),
        1.0,
        "copies with the same input receive the same gradients and stay copies",
        advice,
        f"{'; '.join(_told(groups))}: the same random values, as after copy.deepcopy or "
        "with one seed for each",
    )


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _told(groups: Iterable[Sequence[str]]) -> list[str]:
    """Where the copies are: what holds them, and which of its parameters they are."""
    held: dict[tuple[str, ...], list[str]] = {}
    for group in groups:
        holders, parameter = _split(group)
        held.setdefault(holders, []).append(parameter)
    return [
        _span(holders) + (f" ({listed(inside)})" if all(inside) else "")
        for holders, inside in held.items()
    ]


def _split(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The modules that hold parameters, and the name that these have in common in them."""
    parts = [name.split(".") for name in names]
    common, shortest = 0, min(map(len, parts)) - 1
    while common < shortest and len({each[-1 - common] for each in parts}) == 1:
        common += 1
    holders = tuple(".".join(each[: len(each) - common]) for each in parts)
    return holders, ".".join(parts[0][len(parts[0]) - common :])


def _span(holders: Sequence[str]) -> str:
    """`layers.0…5` for holders that one number counts; the first few otherwise."""
    counted = [re.fullmatch(r"(.*\.|)(\d+)", holder) for holder in holders]
    if all(counted) and len({match[1] for match in counted if match}) == 1:
        numbers = [int(match[2]) for match in counted if match]
        if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{holders[0]}…{numbers[-1]}"
    return listed(holders)
