"""Makes the weights of a plain model sparse: freshly initialized, and nothing stored for the zeros."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit._planning.overrides import match_patterns
from isoinit._planning.plan import Plan
from isoinit._planning.selected import Chosen, Holder, choose_parameters, refuse_wrapped, roles_of
from isoinit._planning.verbs import plan as make_plan
from isoinit._reading.torch.names import require_parameters
from isoinit._writing.entry import Entry
from isoinit._writing.fill import as_array, refuse_unfillable
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, IsoinitError, IsoinitWarning
from isoinit.initializers import (
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
from isoinit.initializers.scale.fans import Layout
from isoinit.initializers.sparse import DENSITY
from isoinit.sparse.budget import spread_budget
from isoinit.sparse.install import Drawn, install, require_holders

Model = TypeVar("Model", bound=nn.Module)
Density = float | Mapping[str, float]

CROSSOVER = 0.4
"""The density above which a dense product is as fast (benchmarks/sparse_training.py)."""


@dataclass(frozen=True)
class Choice:
    """What one weight gets.

    Attributes:
        entry: the plan's.
        initializer: where the weights are kept, and their law; None for a weight that stays dense.
        constant: the value of all kept weights, for a weight that is planned to start at one.
        dense: why it stays dense, unless that was asked for.
    """

    entry: Entry
    initializer: SparseInitializer | None
    constant: float | None = None
    dense: str = ""

    @property
    def filled(self) -> Entry:
        """The plan's entry with the sparse initializer."""
        return replace(self.entry, initializer=self.initializer)


def convert(
    model: Model,
    plan: Plan | None = None,
    *,
    density: Density | None = None,
    pattern: str = "fixed",
    spread: str = "uniform",
    parameters: Chosen = "weights",
    seed: int | None = 0,
    inplace: bool = True,
) -> Model:
    """Initialize a model with sparse weights, of which only those that are kept are stored.

    Each chosen weight keeps a share of its elements, drawn from the streams of its name, and these
    start with the planned scale, corrected by the number of inputs that their unit keeps: the signal
    of the sparse network is that of the planned one. Weights planned as orthogonal or mirrored become
    sparse matrices that are exactly so (`SparseOrthogonal`). Other parameters are filled as planned.

    A linear layer becomes a `SparseLinear`, a lookup table a `SparseEmbedding`: `values`, a plain
    parameter of the kept weights, which any optimizer takes, and their places. Weights of other layers
    (convolutions, recurrent layers, attention) store only what they keep too, but are computed as
    dense ones: memory is saved, time is not. `isoinit.sparse.costs` says what is.

    The dense weights are never made: a layer whose dense form would not fit in memory can be built on
    the meta device and converted from there; what is on meta then comes to the processor.

    Make the optimizer after converting, and wrap the model (DDP, compile) after converting.

    Args:
        model: a plain model. It is initialized, so that earlier values are lost: `from_dense` keeps
            the largest of trained ones.
        plan: the plan of the plain model, best from an example: `isoinit.plan(model, batch)`. A weight
            planned as `Sparse` or `SparseOrthogonal` is used so. None plans without an example.
        density: the share of weights that are kept, in (0, 1]: at least one a unit; by default 0.1, or
            what an N:M pattern says. Or a mapping from names, globs and roles to shares, as in
            `Plan.override`, of which a name or else the first that matches decides. Above 0.4 a
            weight stays dense, which is as fast then.
        pattern: which ones, as in `Sparse`: "fixed" for the same number of inputs a unit, "random",
            "block32", "2:4".
        spread: how `density` is spread over layers: "uniform", or "er" and "erk" for one budget of
            which small layers get a larger share: see `spread_budget`.
        parameters: "weights" for every weight matrix, kernel and table; a name or glob, or several; or
            a function of name and parameter.
        seed: as for `Plan.apply`: the same seed gives the same places and values.
        inplace: whether to convert this model, or a copy of it.

    Returns:
        The model, or its copy; of a model that is one layer, the layer that replaces it.

    Raises:
        ArgumentError: for an argument out of range, fewer than one weight a unit, blocks or N:M that
            do not divide a row; a weight that is shared, parametrized or sparse already; a model
            that is wrapped, or has buffers on the meta device. Nothing was changed then.
        UnknownParameterError: for a pattern of names that matches nothing.
        PlanError: if the plan does not fit the model; nothing was changed.

    Source: Martens 2010; Evci et al. 2022 (scale); Mocanu et al. 2018, Evci et al. 2020 (spread).

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> nn = torch.nn
        >>> model = nn.Sequential(nn.Linear(100, 400), nn.ReLU(), nn.Linear(400, 10))
        >>> model = sparse.convert(model, density={"0.weight": 0.1, "*": 1.0})
        >>> model[0]
        SparseLinear(
          in_features=100, out_features=400, bias=True, kept=4000 (0.1)
          (places): Places()
        )
    """
    asked = prepare(model, plan, density, pattern, spread, parameters, crossover=CROSSOVER)
    _refuse_empty(model, asked)
    seed = resolve_seed(seed)
    if not inplace:
        model = copy.deepcopy(model)
    known, aliases = require_parameters(model, "convert")
    holders = require_holders(model, known, aliases, list(asked.choices))
    say_what_stays(asked.choices, holders)
    drawn = {name: draw(choice, known[name], seed) for name, choice in asked.sparse.items()}
    rest = {name: parameter for name, parameter in known.items() if name not in drawn}
    asked.plan.fill(_settled(model, rest), seed)
    return install(model, drawn, holders)


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
    if plan is not None and not isinstance(plan, Plan):
        raise ArgumentError(f"plan is a {type(plan).__name__}; expected an isoinit.Plan or None")
    known, aliases = require_parameters(model, "convert")
    refuse_wrapped(model)
    refuse_unfillable(known, now=False)
    plan = make_plan(model) if plan is None else plan
    plan.refuse_mismatch(known)
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
                f"nothing was changed: {entry.name!r} is a vector ({entry.role}), of which nothing "
                "can be left out: choose weights"
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
            f"spread={spread!r} with a density for each layer: give one density to be spread"
        )
    found = match_patterns(density, roles, aliases)
    if missing := [name for name in roles if name not in found]:
        raise ArgumentError(
            f"nothing was changed: no pattern of the densities matches {missing[0]!r}; add one, such "
            'as "*": 1.0 for the rest to stay dense'
        )
    return {name: density[found[name]] for name in roles}


def _require_share(share: object, where: str) -> None:
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not 0 < share <= 1:  # type: ignore[operator]
        raise ArgumentError(
            f"nothing was changed: density={share!r}{where}; expected a share of weights above 0, "
            "1 at most"
        )


def _choose(entry: Entry, density: float, pattern: str, crossover: float) -> Choice:
    planned, layout = entry.initializer, entry.layout
    if planned is None:
        raise ArgumentError(
            f"nothing was changed: the plan leaves {entry.name!r} as it was ({entry.reason}); give it "
            "an initializer, or leave it out by parameters="
        )
    if isinstance(planned, SparseInitializer):
        return Choice(entry, planned)
    size = shape_of(layout)[2]
    if density == 1 or (density > crossover and ":" not in pattern):
        why = "" if density == 1 else f"a density of {density:.3g} saves no time"
        return Choice(entry, None, dense=why)
    if isinstance(planned, (Identity, Dirac, GateBias)):
        return Choice(entry, None, dense=f"it is planned as {planned}")
    if density * size < 1 - 1e-9:
        raise ArgumentError(
            f"nothing was changed: density={density:g} leaves {entry.name!r} {density * size:.2g} of "
            f"the {size} weights of a unit; expected one at least: a density of {1 / size:.3g} or "
            f"more, for this weight alone by density={{{entry.name!r}: ..., '*': {density:g}}}, or "
            "spread='erk'"
        )
    try:
        initializer, constant = _sparse_of(planned, layout, density, pattern)
        initializer.std_for(layout)
    except IsoinitError as error:
        raise ArgumentError(f"nothing was changed: {entry.name!r}: {error}") from None
    return Choice(entry, initializer, constant)


def _sparse_of(
    planned: Initializer, layout: Layout, density: float, pattern: str
) -> tuple[SparseInitializer, float | None]:
    """The sparse twin of a dense initializer, and the value of its weights if they are constant."""
    if planned.is_constant:
        return Sparse(density, pattern=pattern), planned.mean_for(layout)
    if pattern == "fixed" and not layout.taps:
        if isinstance(planned, Orthogonal) and layout.kind != "embedding":
            return SparseOrthogonal(density, planned.gain), None
        if isinstance(planned, LooksLinear):
            return SparseOrthogonal(density, planned.gain_for(layout), planned.mirror), None
    return Sparse(density, pattern=pattern, gain=planned.std_for(layout) * layout.fan_in**0.5), None


def draw(choice: Choice, parameter: nn.Parameter, seed: int) -> Drawn:
    """The places and first values of one weight."""
    entry, initializer = choice.entry, choice.initializer
    assert initializer is not None
    stream = Stream(seed, entry.name)
    empty = torch.empty(0, dtype=parameter.dtype)
    kept, values = initializer.draw_kept(stream, entry.layout, as_array(empty).dtype)
    order = kept.order
    kept = Kept(kept.columns[order], kept.starts, kept.size)
    if choice.constant is not None:
        sorted_values = torch.full((len(order),), choice.constant, dtype=parameter.dtype)
    else:
        sorted_values = torch.empty(len(order), dtype=parameter.dtype)
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
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        named = ", ".join(map(repr, names[:3])) + more
        stay = "stay" if len(names) > 1 else "stays"
        warnings.warn(f"{named} {stay} dense: {reason}", IsoinitWarning, stacklevel=3)


def _refuse_empty(model: nn.Module, asked: Asked) -> None:
    """Refuse what is on the meta device and would come from there with no value."""
    for name, buffer in model.named_buffers():
        if buffer.is_meta:
            raise ArgumentError(
                f"nothing was changed: the buffer {name!r} is on the meta device, and what it holds "
                "is not known here: build the model with its buffers on the processor"
            )
    for name, parameter in require_parameters(model, "convert")[0].items():
        if parameter.is_meta and asked.plan[name].initializer is None:
            raise ArgumentError(
                f"nothing was changed: {name!r} is on the meta device, and the plan leaves it as it "
                "was: give it an initializer, or build it on the processor"
            )


def _settled(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The parameters, those on the meta device replaced by empty ones on the processor."""
    settled = {
        name: nn.Parameter(torch.empty_like(parameter, device="cpu"), parameter.requires_grad)
        if parameter.is_meta
        else parameter
        for name, parameter in parameters.items()
    }
    new = {id(old): settled[name] for name, old in parameters.items() if old.is_meta}
    if new:
        for module in model.modules():
            for attribute, parameter in module._parameters.items():
                if id(parameter) in new:
                    module._parameters[attribute] = new[id(parameter)]
    return settled
