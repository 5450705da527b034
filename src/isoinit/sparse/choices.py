"""What each weight of a model gets: where it is sparse and with what values, or why it stays dense.

`convert`, `mask` and `from_dense` ask here, each with its arguments; nothing is changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit._planning.plan import Plan
from isoinit._planning.rules import USUAL
from isoinit._planning.selected import (
    Chosen,
    choose_parameters,
    choose_values,
    refuse_wrapped,
    require_plan,
    roles_of,
)
from isoinit._planning.verbs import plan as make_plan
from isoinit._reading.torch.names import require_parameters
from isoinit._showing.findings import listed
from isoinit._writing.entry import Entry
from isoinit._writing.fill import array_type, as_array
from isoinit._writing.parametrized import Holder
from isoinit._writing.refusals import refuse_mismatch, refuse_unready
from isoinit.errors import ArgumentError, IsoinitError, IsoinitWarning
from isoinit.initializers import (
    Centred,
    Dirac,
    GateBias,
    Identity,
    Initializer,
    LooksLinear,
    Orthogonal,
    Sparse,
    SparseInitializer,
    SparseOrthogonal,
)
from isoinit.initializers.patterns import Kept, parse, shape_of
from isoinit.initializers.sparse import DENSITY
from isoinit.sparse.budget import spread_budget
from isoinit.sparse.install import Drawn, require_holders

Density = float | Mapping[str, float]

CROSSOVER = 0.4
"""The density above which a dense product is as fast (benchmarks/sparse_training.py)."""


@dataclass(frozen=True)
class Choice:
    """What one weight gets.

    Attributes:
        entry: the plan's.
        initializer: where the weights are kept, and their distribution; None for a weight that
        stays dense. constant: the value of all kept weights, for a weight that is planned to start
        at one. dense: why it stays dense, unless that was asked for.
    """

    entry: Entry
    initializer: SparseInitializer | None
    constant: float | None = None
    dense: str = ""

    @property
    def filled(self) -> Entry:
        """The plan's entry with the sparse initializer."""
        return replace(self.entry, initializer=self.initializer)


@dataclass(frozen=True)
class Asked:
    """What was asked of a model, found to be possible.

    Attributes:
        plan: the model's.
        choices: what each chosen weight gets, by name.
    """

    plan: Plan
    choices: dict[str, Choice]

    @property
    def sparse(self) -> dict[str, Choice]:
        """Those that do not stay dense."""
        return {name: c for name, c in self.choices.items() if c.initializer is not None}


def prepare(
    model: nn.Module,
    plan: Plan | None,
    density: Density | None,
    pattern: str,
    spread: str,
    parameters: Chosen,
    *,
    crossover: float = 1.0,
) -> Asked:
    """Check the arguments of a conversion against a model; changes nothing.

    Raises:
        ArgumentError, UnknownParameterError, PlanError: as `convert`.
    """
    require_plan(plan)
    known, aliases = require_parameters(model, "convert")
    refuse_wrapped(model)
    refuse_unready(known, now=False)
    plan = make_plan(model) if plan is None else plan
    refuse_mismatch(plan.entries, known)
    names = choose_parameters(parameters, known, aliases, plan)
    require_holders(model, known, aliases, names)
    choices = choose_sparse(plan, names, aliases, density, pattern, spread, crossover=crossover)
    return Asked(plan, choices)


def choose_sparse(
    plan: Plan,
    names: list[str],
    aliases: Mapping[str, str],
    density: Density | None,
    pattern: str,
    spread: str,
    *,
    crossover: float,
) -> dict[str, Choice]:
    """What each weight gets; what is above the crossover stays dense.

    Raises:
        ArgumentError: as `convert`.
        UnknownParameterError: as `convert`.
    """
    entries = {name: plan[name] for name in names}
    for entry in entries.values():
        if not entry.layout.is_map:
            raise ArgumentError(
                f"nothing was changed: {entry.name!r} is a vector ({entry.role}), and a vector "
                "cannot be sparse. Choose weight matrices or kernels"
            )
    layouts = {name: entry.layout for name, entry in entries.items()}
    if density is None:
        density = parse(pattern, None, None, DENSITY).share
    if isinstance(density, Mapping):
        shares = _given_shares(density, roles_of(names, plan), aliases, spread)
    else:
        _require_share(density, "")
        shares = spread_budget(layouts, density, spread, crossover=crossover)
    return {
        name: _choose(entry, shares[name], pattern, crossover) for name, entry in entries.items()
    }


def _given_shares(
    density: Mapping[str, float],
    roles: Mapping[str, str],
    aliases: Mapping[str, str],
    spread: str,
) -> dict[str, float]:
    """The density of each weight, by the pattern that decides."""
    for pattern, share in density.items():
        _require_share(share, f" for {pattern!r}")
    if spread != "uniform":
        raise ArgumentError(
            f"spread={spread!r} cannot be combined with a density for each layer. Give one "
            "density for all layers"
        )
    example = '"*": 1.0 for the rest to stay dense'
    return choose_values(density, roles, aliases, "densities", example)


def _require_share(share: object, where: str) -> None:
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not 0 < share <= 1:  # type: ignore[operator]
        raise ArgumentError(
            f"nothing was changed: density={share!r}{where}; expected the fraction of weights to "
            "keep, above 0 and at most 1"
        )


def _choose(entry: Entry, density: float, pattern: str, crossover: float) -> Choice:
    planned, layout = entry.initializer, entry.layout
    if planned is None:
        raise ArgumentError(
            f"nothing was changed: the plan leaves {entry.name!r} unchanged ({entry.reason}). "
            "Give it an initializer, or exclude it with parameters="
        )
    if isinstance(planned, SparseInitializer):
        return Choice(entry, planned)
    size = shape_of(layout)[2]
    if density == 1 or (density > crossover and ":" not in pattern):
        why = "" if density == 1 else f"at density {density:.3g} a sparse weight is not faster"
        return Choice(entry, None, dense=why)
    if isinstance(planned, (Centred, Identity, Dirac, GateBias)):
        return Choice(entry, None, dense=f"the plan initializes it with {planned}")
    if density * size < 1 - 1e-9:
        raise ArgumentError(
            f"nothing was changed: with density={density:g}, each unit of {entry.name!r} would "
            f"keep {density * size:.2g} of its {size} weights; expected at least one. Use a "
            f"density of {1 / size:.3g} or more (for this weight only: density={{{entry.name!r}: "
            f"..., '*': {density:g}}}), or spread='erk'"
        )
    try:
        initializer, constant = _sparse_of(entry, planned, density, pattern)
        initializer.std_for(layout)
    except IsoinitError as error:
        raise ArgumentError(f"nothing was changed: {entry.name!r}: {error}") from None
    return Choice(entry, initializer, constant)


def _sparse_of(
    entry: Entry, planned: Initializer, density: float, pattern: str
) -> tuple[SparseInitializer, float | None]:
    """The sparse twin of a dense initializer, and the value of its weights if they are constant.

    Where the rule asked for a variance alone, a weight that is orthogonal because it is small gets
    the twin of an independent one: what is kept does not depend on its size.
    """
    layout = entry.layout
    if planned.is_constant:
        return Sparse(density, pattern=pattern), planned.mean_for(layout)
    if pattern == "fixed" and not layout.taps:
        if isinstance(planned, Orthogonal) and _is_meant(entry):
            return SparseOrthogonal(density, planned.gain), None
        if isinstance(planned, LooksLinear):
            return SparseOrthogonal(density, planned.gain_for(layout), planned.mirror), None
    return Sparse(density, pattern=pattern, gain=planned.std_for(layout) * layout.fan_in**0.5), None


def _is_meant(entry: Entry) -> bool:
    return entry.layout.kind != "embedding" and entry.rule not in USUAL


def draw(choice: Choice, parameter: nn.Parameter, seed: int) -> Drawn:
    """The places and first values of one weight.

    Raises:
        ArgumentError: if its type cannot hold them.
    """
    entry, initializer = choice.entry, choice.initializer
    assert initializer is not None
    stream = Stream(seed, entry.key)
    array = array_type(parameter.dtype)
    initializer.require_fit(entry.layout, array)
    kept, values = initializer.draw_kept(stream, entry.layout, array)
    order = kept.order
    kept = Kept(kept.columns[order], kept.starts, kept.size)
    sorted_values = torch.empty(len(order), dtype=parameter.dtype, device="cpu")
    if choice.constant is not None:
        sorted_values.fill_(choice.constant)
    else:
        as_array(sorted_values)[:] = values[order]
    if (row := entry.layout.padding) is not None:
        sorted_values[kept.starts[row] : kept.starts[row + 1]] = 0
    device = torch.device("cpu") if parameter.is_meta else parameter.device
    return Drawn(kept, sorted_values.to(device), entry.layout, parameter.requires_grad)


def say_what_stays(choices: Mapping[str, Choice], holders: Mapping[str, Holder]) -> None:
    """Warn of what was to be sparse and stays dense, and note on the layers why."""
    reasons: dict[str, list[str]] = {}
    for name, choice in choices.items():
        if choice.dense:
            reasons.setdefault(choice.dense, []).append(name)
            holder = holders[name]
            vars(holder.module).setdefault("kept_dense", {})[holder.attribute] = choice.dense
    for reason, names in reasons.items():
        named = listed([repr(name) for name in names])
        stay = "stay" if len(names) > 1 else "stays"
        warnings.warn(f"{named} {stay} dense: {reason}", IsoinitWarning, stacklevel=3)
