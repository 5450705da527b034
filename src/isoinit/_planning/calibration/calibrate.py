"""The entries of a plan with the corrections that were measured: see `Plan.calibrate`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from isoinit._planning.calibration.forward import twin
from isoinit._planning.calibration.measure import Target, measure_corrections
from isoinit._planning.charts import in_step
from isoinit._reading.torch import (
    require_parameters,
)
from isoinit._reading.torch.names import named_modules
from isoinit._showing.findings import listed
from isoinit._system.alone import alone
from isoinit._writing.apply import fill_parameters
from isoinit._writing.assigning import follow
from isoinit._writing.entry import Entry
from isoinit._writing.postponed import unfilled
from isoinit._writing.refusals import refuse_mismatch, refuse_unready
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, PlanError

LARGE = 2.0  # a correction that is told
SHOWN = 4  # names in a sentence


def calibrated(
    entries: Mapping[str, Entry],
    model: nn.Module,
    batch: Any,
    seed: int,
    target: Target | None,
) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Return the corrected entries of a plan, and what was left alone or is doubtful.

    Takes and raises what `Plan.calibrate` does; a target's names are those of `entries`.
    """
    with alone():
        parameters, _ = require_parameters(model, "calibrate")
        if seed is None:
            raise ArgumentError(
                "seed=None: expected an integer, the seed with which you will apply the plan"
            )
        refuse_unready(parameters, now=True)
        refuse_mismatch(entries, parameters)
        kept = {name: parameters[name] for name, e in entries.items() if e.initializer is None}
        if names := unfilled(kept):
            raise PlanError(
                f"parameter {names[0]!r} was built under isoinit.deferred and has no values yet, "
                "and the plan leaves it unchanged. Apply the plan to the model first"
            )
        if target is None:
            target = {name: goal for name, entry in entries.items() if (goal := entry.own_target)}
        drawn = {name: twin(parameter) for name, parameter in parameters.items()}
        seed = resolve_seed(seed)
        filled = {name: e for name, e in entries.items() if e.initializer is not None}
        followed = follow(named_modules(model), filled, seed)
        fill_parameters(entries, drawn, seed, followed.parameters)
        initializers = {name: entry.initializer for name, entry in entries.items()}
        lent = {**drawn, **followed.buffers}
        found = measure_corrections(model, parameters, lent, initializers, batch, target)
        changed = dict(entries)
        for name, initializer in found.initializers.items():
            reason = f"{entries[name].reason}; calibrated on a batch: ×{found.factors[name]:.3g}"
            changed[name] = replace(
                entries[name], initializer=initializer, reason=reason, expected=None
            )
        return in_step(changed), (*found.notes, *_largest(found.factors))


def _largest(factors: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence on the largest corrections, if any is large."""
    order = sorted(factors, key=lambda name: -abs(math.log(factors[name])))
    large = [name for name in order if abs(math.log(factors[name])) > math.log(LARGE)]
    if large:
        said = listed([f"{name!r} ×{factors[name]:.3g}" for name in large], SHOWN)
        yield f"calibrated on a batch, with large corrections: {said}"
