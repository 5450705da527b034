"""A pattern's name, as users and plans write it."""

from __future__ import annotations

import re

from isoinit.errors import ArgumentError
from isoinit.initializers.patterns.base import Pattern
from isoinit.initializers.patterns.blocks import Blocks
from isoinit.initializers.patterns.fixed import Fixed
from isoinit.initializers.patterns.n_of_m import NOfM
from isoinit.initializers.patterns.random import Random

NAMES = "'fixed', 'random', 'block16', 'block32', 'block64', or N:M such as '2:4'"


def parse(name: str, density: float | None, connections: int | None, default: float) -> Pattern:
    """The pattern of a name.

    Args:
        name: one of `NAMES`.
        density: the share of weights that are kept; None for the default, or for what N:M says.
        connections: in place of the density, for "fixed".
        default: the density where nothing else is said.

    Raises:
        ArgumentError: for an unknown name, or numbers that contradict it.
    """
    if connections is not None and name != "fixed":
        raise ArgumentError(
            f"connections={connections} with pattern={name!r}: only pattern='fixed' takes a "
            "number of connections for each unit. Give a density"
        )
    share = default if density is None else density
    if name == "fixed":
        return Fixed(share, connections)
    if name == "random":
        return Random(share)
    if isinstance(name, str) and (found := re.fullmatch(r"block([1-9]\d*)", name)):
        return Blocks(int(found[1]), share)
    if isinstance(name, str) and (found := re.fullmatch(r"(\d+):(\d+)", name)):
        n, m = int(found[1]), int(found[2])
        if not 0 < n < m:
            raise ArgumentError(f"pattern={name!r}: expected N:M with 0 < N < M, such as '2:4'")
        if density is not None and density != n / m:
            raise ArgumentError(
                f"density={density:g} with pattern={name!r}: this pattern keeps {n / m:g}. Give "
                "no density"
            )
        return NOfM(n, m)
    raise ArgumentError(f"pattern={name!r}: expected one of {NAMES}")
