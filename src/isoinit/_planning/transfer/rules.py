"""The published factors: what a parameter's start and learning rate are multiplied by as it grows.

The model that the factors are published for has multipliers in its forward; `gauges` moves these into
the parameters, and the factors follow (Yang et al. 2022, Lemma J.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isoinit._planning.transfer.growth import Growth
from isoinit._reading.roles import Role
from isoinit._writing.factors import DECAYS, DEPTHS, OPTIMIZERS, Factors
from isoinit.errors import ArgumentError
from isoinit.initializers.scale.fans import Layout

MUP = "Yang et al. 2022 (Tensor Programs V), tables 3 and 8"
SPECTRAL = "Yang, Simon & Bernstein 2023; Zheng et al. 2026, section 4.1"
MUON = "Zheng et al. 2026, tables 3 and 4"
COMPLETEP = "Dey et al. 2025 (CompleteP), table 1; Zheng et al. 2026, tables 5 and 6"
DEPTH_MUP = "Yang et al. 2023 (Tensor Programs VI), table 1; Zheng et al. 2026, tables 11 and 12"
REFUSED = {
    "adafactor": (
        "its steps are relative to the size of each parameter, so other rules are needed (Yang et "
        "al. 2022, appendix B.3)"
    ),
    "lion": (
        "its steps do not depend on the size of the gradient, and the factors were not tested "
        "with it"
    ),
}
ADJUSTED = {"muon": "original", "muon:match_rms_adamw": "match_rms_adamw"}  # of torch's Muon


@dataclass(frozen=True)
class Rules:
    """What was asked for.

    Attributes:
        optimizer: what trains the model: one of `OPTIMIZERS`.
        decay: how weight decay follows the width: one of `DECAYS`.
        depth: how branches follow the depth: one of `DEPTHS`.
        oriented: whether Muon is told which axes of a parameter are inputs, as optax's can be;
            torch's trains what has two axes, and takes the first for outputs.

    Raises:
        ArgumentError: for anything else, with the reason where there is one.
    """

    optimizer: str = "adamw"
    decay: str = "mup"
    depth: str | None = "completep"
    oriented: bool = False

    def __post_init__(self) -> None:
        known: tuple[tuple[str, tuple[str | None, ...]], ...] = (
            ("optimizer", OPTIMIZERS),
            ("decay", DECAYS),
            ("depth", DEPTHS),
        )
        for name, values in known:
            value = getattr(self, name)
            why = REFUSED.get(value.lower(), "") if isinstance(value, str) else ""
            if value not in values:
                expected = f"expected one of {', '.join(map(repr, values))}"
                raise ArgumentError(f"{name}={value!r}: {f'{why}; ' if why else ''}{expected}")

    @property
    def power(self) -> float:
        """The α of branches that are divided by the growth of their number to the power α."""
        return {"completep": 1.0, "mup": 0.5}.get(self.depth or "", 0.0)

    @property
    def by(self) -> str:
        """The optimizer of what is no hidden matrix."""
        return "adamw" if self.optimizer in ADJUSTED else self.optimizer

    def shape_of(self, layout: Layout) -> tuple[int, ...]:
        """Return the shape of a parameter as the optimizer sees it: (outputs, inputs) of a matrix."""
        sides = matrix_sides(layout) if self.oriented else None
        if sides is None:
            return layout.shape
        rows, columns = (math.prod(layout.shape[axis] for axis in axes) for axes in sides)
        return rows, columns

    def adjusted(self, shape: tuple[int, ...]) -> float:
        """Return what Muon itself multiplies the step of a matrix (outputs, inputs) by."""
        rows, columns = shape
        if ADJUSTED[self.optimizer] == "original":
            return math.sqrt(max(1.0, rows / columns))
        return 0.2 * math.sqrt(max(rows, columns))


@dataclass(frozen=True)
class Grown:
    """All that decides the factors of one parameter.

    Attributes:
        role: what it is for.
        growth: how it grows.
        base, target: its two shapes, as the optimizer sees them.
        deeper: the growth of the number of branches, if it stands in one; else 1.
        gauge: how many times larger it is stored.
        reason: what its gauge stands for.
    """

    role: Role
    growth: Growth
    base: tuple[int, ...]
    target: tuple[int, ...]
    deeper: float = 1.0
    gauge: float = 1.0
    reason: str = ""


def factors(rules: Rules, one: Grown) -> Factors:
    """Return the factors of one parameter."""
    grown, gauge = one.growth, one.gauge
    kind = kind_of(one.role, grown)
    by = rules.by
    if rules.optimizer in ADJUSTED and _is_hidden_matrix(one):
        by = "muon"
    lr, eps = _width(by, grown)
    decay = {"mup": 1 / lr, "sqrt": lr**-0.5}.get(rules.decay, 1.0)
    if by == "muon":
        adjusted = rules.adjusted(one.target) / rules.adjusted(one.base)
        lr, decay = lr / adjusted, decay * adjusted
    if one.deeper != 1:
        alpha = rules.power
        lr *= one.deeper ** ((2 * alpha if by == "sgd" else alpha) - 1) if alpha else 1.0
        decay *= one.deeper**-alpha if by == "sgd" else 1.0
        eps *= one.deeper**-alpha
    return Factors(
        kind,
        grown.std * gauge,
        lr * (gauge**2 if by == "sgd" else gauge),
        decay / (gauge if by in ("adamw", "muon") else gauge**2),
        eps / gauge,
        gauge,
        grown.summed,
        grown.units,
        by,
        decays=decays(one.role),
        reason=_reason(rules, kind, one),
        source=_source(rules, by, one),
    )


def decays(role: Role) -> bool:
    """Return whether weight decay acts on a parameter: not on vectors, biases and norm layers.

    A bias may have several axes: of heads, or of the layers of a stack.
    """
    vector = role.of_norm or "bias" in role.slot
    return len(role.layout.shape) >= 2 and (role.layout.is_map or not vector)


def matrix_sides(layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the stored axes of a matrix that are outputs, and those that are inputs.

    Axes of neither number the matrices of a stack. Projections side by side along the outputs are one
    matrix.

    Returns:
        None for what is no matrix: vectors, tables, kernels of convolutions, and those whose inputs
        and outputs lie in one axis.

    Example:
        >>> from isoinit.initializers.scale import fans
        >>> matrix_sides(fans.contraction((64, 4, 16), in_=[0], out=[1, 2]))
        ((1, 2), (0,))
    """
    if layout.kind != "linear" or layout.taps:
        return None
    sides: dict[str, list[int]] = {"out": [], "in": []}
    grid = iter(enumerate(layout.grid))
    for axis, size in enumerate(layout.shape):
        kinds, left = set[str](), size
        while left > 1 or not kinds:
            inner, length = next(grid)
            if length > 1 or size == 1:
                kinds.add(
                    "in" if inner in layout.in_ else "out" if inner in layout.out else "stack"
                )
            left //= length
        if {"in", "out"} <= kinds or kinds == {"in", "stack"}:
            return None
        for side in kinds & sides.keys():
            sides[side].append(axis)
    return tuple(sides["out"]), tuple(sides["in"])


def _is_hidden_matrix(one: Grown) -> bool:
    """Whether a parameter is a matrix between two layers, by its place: as for the base itself."""
    role = one.role
    layer = role.layout.is_map and role.layout.kind != "embedding" and not role.tied
    return len(one.target) == 2 and layer and role.source != "input" and role.end != "output"


def kind_of(role: Role, grown: Growth) -> str:
    """Return what a parameter is to the width, in words."""
    if not role.layout.is_map:
        slot = "bias" if "bias" in role.slot else role.slot
        return f"norm {slot}" if role.of_norm else "vector" if slot == "unknown" else slot
    if role.layout.kind == "embedding":
        return "table"
    if grown.summed != 1:
        narrow = "readout" if role.end == "output" else "narrowing weight"
        return "hidden weight" if grown.made != 1 else narrow
    return "input weight" if grown.units != 1 else "fixed weight"


def _width(by: str, grown: Growth) -> tuple[float, float]:
    """Return the factors of learning rate and ε for the width alone."""
    if by == "muon":
        return math.sqrt(grown.made / grown.summed), math.sqrt(grown.summed / grown.units)
    if by == "sgd":
        return grown.units / grown.summed, 1.0
    return 1 / grown.summed, 1 / grown.units


def _reason(rules: Rules, kind: str, one: Grown) -> str:
    grown = one.growth
    if kind in ("hidden weight", "readout", "narrowing weight"):
        said = f"sums {grown.summed:.4g} times as many terms"
        made = grown.made if kind == "hidden weight" else 1
        said += f" and makes {made:.4g} times as many" if made != 1 else ""
    elif grown.units != 1:
        said = f"makes {grown.units:.4g} times as many, from as many terms"
    else:
        said = "does not grow"
    if one.deeper != 1 and rules.power:
        said += f"; in one of {one.deeper:.4g} times as many branches"
    return f"{said}; {one.reason}" if one.reason else said


def _source(rules: Rules, by: str, one: Grown) -> str:
    found = [
        MUON if by == "muon" else SPECTRAL if one.growth.made < one.growth.summed != 1 else MUP
    ]
    if one.deeper != 1 and rules.power:
        found.append(COMPLETEP if rules.power == 1 else DEPTH_MUP)
    return "; ".join(found)
