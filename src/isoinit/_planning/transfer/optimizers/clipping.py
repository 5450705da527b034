"""Clips gradients by the norm that they have without the gauge.

A parameter that is stored θ times larger than in the papers' form has a gradient θ times smaller.
So the norm of all gradients depends on the gauge, and clipped by it a model would train otherwise.
θ times the gradient is the gradient in the papers' form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from isoinit._planning.transfer.optimizers.matching import by_mesh, is_flattened, matched
from isoinit._writing.placements import held_parameters
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from isoinit._planning.plan import Plan


def clip_grad_norm_(
    plan: Plan,
    model: nn.Module,
    max_norm: float,
    norm_type: float,
    error_if_nonfinite: bool,
    foreach: bool | None,
) -> torch.Tensor:
    """Clip the gradients of a model, and return their norm: see `Transfer.clip_grad_norm_`."""
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; expected the model, not its parameters, because "
            "the names of parameters are needed"
        )
    if not max_norm >= 0:  # infinity measures the norm alone
        raise ArgumentError(f"max_norm={max_norm}: expected a number of 0 or more")
    parameters = matched(plan, model, "clip")
    total = _combined(
        [
            _norm(mine, norm_type, foreach, ranks) * gauge
            for (gauge, ranks), mine in _alike(plan, model, parameters)
        ],
        norm_type,
    )
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"the norm of order {norm_type} of the gradients is {total.item()}, so they cannot be "
            "clipped; pass error_if_nonfinite=False to scale them anyway"
        )
    for together in by_mesh(parameters.values(), parameters.values()).values():
        clip_grads_with_norm_(together, max_norm, total, foreach)
    return total


Ranks = Sequence[Any]  # groups of processes whose parts of a flat parameter make the whole


def _alike(
    plan: Plan, model: nn.Module, parameters: dict[str, nn.Parameter]
) -> Iterable[tuple[tuple[float, Ranks], list[nn.Parameter]]]:
    """The parameters by gauge and by the ranks that hold them: norms of these can be taken at once.

    The keys and their order are the same on all ranks, whatever gradients are there.
    """
    flat = any(map(is_flattened, parameters.values()))
    held = held_parameters(model)[0] if flat else {}
    names = {plan.aliases.get(name, name): part for name, part in held.items()}
    found: dict[tuple[float, object], tuple[tuple[float, Ranks], list[nn.Parameter]]] = {}
    for name, parameter in parameters.items():
        factors = plan[name].factors
        gauge = 1.0 if factors is None else factors.gauge
        ranks = names[name].parts if is_flattened(parameter) else ()
        mesh = getattr(parameter, "device_mesh", None)  # norms of several meshes cannot be stacked
        key = (gauge, (mesh, tuple(map(id, ranks))))
        found.setdefault(key, ((gauge, ranks), []))[1].append(parameter)
    return found.values()


def _norm(
    parameters: list[nn.Parameter], norm_type: float, foreach: bool | None, ranks: Ranks
) -> torch.Tensor:
    """The norm of the gradients of parameters, over all ranks that hold parts of them."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        found: Any = get_total_norm(gradients, norm_type, foreach=foreach)
    else:  # where the ranks expect it
        found = torch.zeros((), device=parameters[0].device)
    if type(found).__name__ == "DTensor":  # importing the class would be slow
        found = found.full_tensor()
    for group in ranks:
        found = _over(group, found, norm_type)
    return found  # type: ignore[no-any-return]


def _over(group: Any, norm: torch.Tensor, norm_type: float) -> torch.Tensor:
    import torch.distributed as dist

    if math.isinf(norm_type):
        dist.all_reduce(norm, dist.ReduceOp.MAX, group)
        return norm
    power: torch.Tensor = norm**norm_type
    dist.all_reduce(power, group=group)
    return power ** (1 / norm_type)


def _combined(norms: Sequence[torch.Tensor], norm_type: float) -> torch.Tensor:
    if not norms:
        return torch.tensor(0.0)
    device = norms[0].device
    stacked = torch.stack([norm.to(device) for norm in norms])
    total: torch.Tensor = torch.linalg.vector_norm(stacked, norm_type)
    return total
