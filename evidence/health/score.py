"""Checks one model as it is, and broken in each way, and judges what was said."""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import dataclass, field
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"


@dataclass
class Outcome:
    """What the check said of one model: unbroken, and broken in each way."""

    name: str
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)


def examine(name: str) -> Outcome:
    """Check one model as it is, and broken in each way."""
    warnings.simplefilter("ignore")
    import torch
    import transformers
    from evidence.health import faults, models

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    model, batch, loss = models.build(name)
    healthy = _check(model, batch, loss)
    outcome = Outcome(name)
    outcome.errors = [str(f) for f in healthy.findings if f.severity == "error"]
    outcome.warnings = [str(f) for f in healthy.findings if f.severity == "warning"]
    place = faults.find(model, batch)
    for fault, make in faults.FAULTS.items():
        broken = copy.deepcopy(model)
        if not (names := make(broken, place, batch)):
            outcome.found[fault] = "n/a"
            continue
        try:
            outcome.found[fault] = _verdict(names, healthy, _check(broken, batch, loss))
        except Exception as error:  # a check that fails has found nothing
            outcome.found[fault] = f"missed: {type(error).__name__}"
    return outcome


def _check(model: Any, batch: Any, loss: Any) -> Any:
    import torch

    import isoinit

    torch.manual_seed(1)
    return isoinit.check(model, batch, loss=loss)


def _verdict(names: list[str], healthy: Any, health: Any) -> str:
    """The severity of the finding that names what was broken; "missed" without one."""
    before = {(f.name, f.where) for f in healthy.findings}
    accepted = {part for name in names for part in _names_of(name)}
    few = max(3, len(health.layers) // 10)
    for finding in health.findings:
        where = finding.where if len(finding.where) <= few else finding.where[:3]
        if (finding.name, finding.where) not in before and accepted & set(where):
            return str(finding.severity)
    return "missed"


def _names_of(parameter: str) -> set[str]:
    module = parameter.rpartition(".")[0]
    return {parameter, parameter.removesuffix(".weight"), module} - {""}
