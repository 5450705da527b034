"""How one budget of weights is distributed over the layers of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping

from isoinit.errors import ArgumentError
from isoinit.initializers.patterns import shape_of
from isoinit.initializers.scale.fans import Layout

SPREADS = ("uniform", "er", "erk")


def spread_budget(
    layouts: Mapping[str, Layout], density: float, spread: str, *, crossover: float = 1.0
) -> dict[str, float]:
    """The density of each layer, such that all together keep `density` of their weights.

    - "uniform" gives each layer the same.
    - "er" gives a layer of n_in inputs and n_out outputs a share proportional to
      (n_in + n_out)/(n_in·n_out), so that the number of weights grows with the sum of the sides and
      not with their product: small layers stay nearly dense (Mocanu et al. 2018, eq. 3).
    - "erk" counts the kernel too: (n_in + n_out + k_h + k_w)/(n_in·n_out·k_h·k_w) (Evci et al. 2020,
      section 3). Without a kernel it is "er".

    A layer takes no more than all of its weights; what is over goes to the others. Each unit gets
    one weight at least.

    Args:
        layouts: of the weights, by name.
        density: in (0, 1].
        spread: one of the above.
        crossover: above which a layer is given all of its weights (1.0), since less saves nothing.

    Raises:
        ArgumentError: for an unknown `spread`, or a budget that is less than one weight a unit.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> layers = {"wide": fans.linear((400, 400)), "narrow": fans.linear((10, 400))}
        >>> {name: round(share, 3) for name, share in spread_budget(layers, 0.05, "er").items()}
        {'wide': 0.034, 'narrow': 0.695}
    """
    if spread not in SPREADS:
        raise ArgumentError(f"spread={spread!r}: expected one of {', '.join(SPREADS)}")
    if spread == "uniform":
        return dict.fromkeys(layouts, density)
    sizes = {name: math.prod(layout.shape) for name, layout in layouts.items()}
    weights = {name: _share(layout, kernel=spread == "erk") for name, layout in layouts.items()}
    floors = {name: 1 / max(shape_of(layout)[2], 1) for name, layout in layouts.items()}
    budget = density * sum(sizes.values())
    least = sum(floors[name] * sizes[name] for name in layouts)
    if budget < least * (1 - 1e-9):
        raise ArgumentError(
            f"density={density:g} keeps {budget:.0f} of {sum(sizes.values())} weights, but one "
            f"weight for each unit makes {least:.0f}. Expected a density of "
            f"{least / sum(sizes.values()):.3g} or more"
        )
    shares = _solve(sizes, weights, floors, budget)
    while more := {name for name, share in shares.items() if crossover < share < 1}:
        whole = more | {name for name, share in shares.items() if share == 1}
        floors |= dict.fromkeys(whole, 1.0)
        if sum(floors[name] * sizes[name] for name in sizes) > budget:
            break  # the others would not be left one weight a unit
        shares = _solve(sizes, weights, floors, budget)
    return shares


def _solve(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    floors: Mapping[str, float],
    budget: float,
) -> dict[str, float]:
    """min(1, max(floor, ε·weight)) for each layer, with the ε that meets the budget, by halving."""

    def shares(epsilon: float) -> dict[str, float]:
        return {name: min(1.0, max(floors[name], epsilon * weights[name])) for name in sizes}

    def total(epsilon: float) -> float:
        return sum(share * sizes[name] for name, share in shares(epsilon).items())

    low, high = 0.0, 1 / min(weights.values())
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < budget else (low, middle)
    return shares(high)


def _share(layout: Layout, *, kernel: bool) -> float:
    """Sum of the sides over their product, of one map; with `kernel` its sides count."""
    if layout.kind == "embedding":
        _, *sides = shape_of(layout)
        taps: tuple[int, ...] = ()
    else:
        _, n_out, n_in, _ = layout.maps_shape
        sides, taps = [n_out, n_in], layout.kernel
    total = sum(sides) + (sum(taps) if kernel else 0)
    return total / math.prod([*sides, *(taps if kernel else ())])
