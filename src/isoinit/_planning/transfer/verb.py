"""The verb `transfer`: the plan and the optimizer's groups of a large model from a small one's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from isoinit._planning.measured import TorchRuns
from isoinit._planning.transfer import sizes
from isoinit._planning.transfer.rules import Rules
from isoinit._planning.transfer.sizes import require_sizes, require_unit
from isoinit._planning.transfer.transferred import (
    Planned,
    transferred,
    transferred_alone,
)
from isoinit._planning.transfer.transfers import Transfer
from isoinit._planning.verbs import planned
from isoinit._system.alone import alone
from isoinit._system.packages import needs
from isoinit.errors import ArgumentError, TraceError
from isoinit.initializers import Initializer

if TYPE_CHECKING:
    from torch import nn


def transfer(
    model: nn.Module | Callable[[int], nn.Module],
    target: nn.Module | int | None = None,
    batch: Any = None,
    *,
    base: int | None = None,
    unit: float | None = None,
    optimizer: str = "adamw",
    decay: str = "mup",
    depth: str | None = "completep",
    method: str = "auto",
    recipe: str | None = None,
    overrides: Mapping[str, Initializer] | None = None,
    keep: str = "own",
) -> Transfer:
    """Return the initial scales and optimizer groups of a large model, tuned on a small one.

    The best settings of the base (learning rate, decay, ε, the scales of its plan) are multiplied by
    a factor for each parameter of the target, so that they stay best as width and depth grow. The
    factors are those of μP, CompleteP and the spectral condition. These also put factors into the
    forward pass: 1/d on scores, 1/m on a tied readout, 1/N on branches. Here the parameters contain
    them, so no model is changed (see `Factors.gauge`). Both models are read and planned as
    `isoinit.plan` does. Nothing is trained.

    Args:
        model: the base model; or a function of the width (or the depth, or any other size) that
            builds a model; or, with `unit`, the model itself.
        target: the larger model; for a function, its larger argument.
        batch: an example input for both models, as for `isoinit.plan`.
        base: for a function, its smaller argument: the size at which you tune.
        unit: for one model without a base, the hidden width for which the settings hold. Heads and
            depth then do not change the settings.
        optimizer: "adamw", "adam", "sgd" (with or without momentum), or "muon" (torch's, for hidden
            matrices, with AdamW for the rest; "muon:match_rms_adamw" if it adjusts its rate so).
        decay: the rule of weight decay by width. "mup" keeps learning rate times decay, "constant"
            keeps decay, and "sqrt" is half way between. See docs/transfer-rules.md for the reasons.
        depth: "completep" divides residual branches by their number (α = 1), "mup" by its square root
            (α = ½), and None does not divide them.
        method: as for `isoinit.plan`, for both models.
        recipe: as for `isoinit.plan`.
        overrides: as for `isoinit.plan`.
        keep: as for `isoinit.plan`. Kept parameters have factors of one.

    Returns:
        The transfer. Print it for a table, call `plan.apply`, and make `groups` for the optimizer.

    Raises:
        ArgumentError: for an unknown option, an optimizer whose factors are not known, or models and
            sizes that do not fit together.
        PlanError: if the models differ in more than width and depth (it names a parameter without a
            counterpart), or the base is larger than the target.
        TraceError: if one of the models fails on the batch. The message says which model.

    Source: Yang et al. 2022 (arXiv 2203.03466), tables 3 and 8, Lemma J.1; Dey et al. 2025 (CompleteP,
    arXiv 2505.01618), table 1; Yang, Simon & Bernstein 2023 (arXiv 2310.17813).

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> def build(width):
        ...     hidden = nn.Linear(width, width), nn.ReLU()
        ...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), *hidden, nn.Linear(width, 2))
        >>> t = isoinit.transfer(build, base=64, target=256, batch=torch.zeros(1, 8))
        >>> [(n, f.lr) for n, f in t.factors.items() if "weight" in n]
        [('0.weight', 1.0), ('2.weight', 0.25), ('4.weight', 0.25)]
    """
    with needs("torch", "isoinit.transfer"):
        from torch import nn
    rules = Rules(optimizer, decay, depth)
    options = {"method": method, "recipe": recipe, "overrides": overrides, "keep": keep}
    with alone():
        if unit is not None:
            if base is not None or target is not None or not isinstance(model, nn.Module):
                raise ArgumentError(
                    "unit= is for a single model without a base. Use transfer(model, batch=batch, "
                    "unit=256), or omit unit="
                )
            require_unit(unit)
            return Transfer(
                transferred_alone(_planned(model, "model", batch, options), rules, unit)
            )
        small, large, called = _models(model, target, base)
        before, after = (
            _planned(*one, batch, options) for one in ((small, "base"), (large, "target"))
        )
        return Transfer(transferred(before, after, rules, called))


def _models(
    model: nn.Module | Callable[[int], nn.Module], target: nn.Module | int | None, base: int | None
) -> tuple[nn.Module, nn.Module, str]:
    """Return the base, the target, and the base in words.

    Raises:
        ArgumentError: if what was given is no pair of models.
    """
    from torch import nn

    if isinstance(model, nn.Module):
        if base is not None:
            raise ArgumentError(
                f"base={base!r} needs a function that builds models, but a model was given. Use "
                "transfer(base_model, target_model, batch)"
            )
        if not isinstance(target, nn.Module):
            raise ArgumentError(
                f"target={target!r}: expected a second, larger model, transfer(base_model, "
                "target_model, batch), or unit= for a single model"
            )
        return model, target, type(model).__name__
    both = require_sizes(base, target, "transfer(build, base=64, target=1024, batch=batch)")
    if not callable(model):
        raise ArgumentError(
            f"model is a {type(model).__name__}; expected a torch.nn.Module, or a function of a size "
            "that builds one"
        )
    models = [built(model, size) for size in both]
    return models[0], models[1], f"{type(models[0]).__name__} of size {base}"


def built(build: Callable[[int], nn.Module], size: int) -> nn.Module:
    """Return a new model of a size.

    Raises:
        ArgumentError: if it cannot be built, or is no module.
    """
    from torch import nn

    model = sizes.built(build, size)
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"build({size}) returned a {type(model).__name__}; expected a new torch.nn.Module"
        )
    return model


def _planned(model: nn.Module, what: str, batch: Any, options: Mapping[str, Any]) -> Planned:
    """Return a model with its plan.

    Raises:
        TraceError: if it refuses the batch, saying which of the two it is.
    """
    try:
        plan, decided, given = planned(model, batch, **options)
    except TraceError as error:
        raise TraceError(f"the {what} model fails on the batch: {error}") from error
    return Planned(TorchRuns(model, given), plan, decided)
