"""What the parameters themselves look like, and how far the first step of training moves them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from isoinit._reading.roles import Role
from isoinit._reading.torch.kept import why_not_drawn
from isoinit._reading.torch.numbers import in_reals
from isoinit._showing.page import Histogram
from isoinit._verifying.health.records import WeightHealth
from isoinit._verifying.health.steps import BINS, COUNTED, PROBES, relative_step
from isoinit._verifying.health.torch.layers import moments
from isoinit._verifying.health.torch.units import all_identical, maps, share_of_twins
from isoinit._verifying.sharded import whole
from isoinit.initializers.scale.fans import Layout


def measure_weights(
    parameters: Mapping[str, nn.Parameter],
    roles: Mapping[str, Role],
    gradients: Mapping[str, float | None],
    lr: float | None,
    optimizer: str,
    made: Mapping[str, torch.Tensor],
) -> dict[str, WeightHealth]:
    """Look at every parameter, one at a time.

    Args:
        parameters: by name; sharded ones are gathered one by one.
        roles: what each is for.
        gradients: root mean square of each one's gradient, None where none came.
        lr: the learning rate; None for no update.
        optimizer: "sgd" or "adam".
        made: the weights that modules compute, by the parameter that stands for each.
    """
    found = {}
    with torch.no_grad():
        for name, parameter in parameters.items():
            values = whole(parameter).detach()
            reals = in_reals(values)
            mean, std, rms, largest = moments(reals)
            role, gradient = roles[name], gradients.get(name)
            rank = full = math.nan
            twins, identical = 0.0, False
            weight = made.get(name, values)
            is_map = "weight" in role.slot and weight.dim() > 1 and not why_not_drawn(values)
            is_map = is_map and weight.numel() > 0
            if is_map and math.isfinite(rms):
                rank, full = effective_rank(weight, role.layout)
                twins = share_of_twins(weight, role.layout)
            if role.must_differ and not why_not_drawn(values):
                identical = all_identical(weight, role.layout)
            update = None if lr is None else relative_step(gradient, rms, lr, optimizer)
            found[name] = WeightHealth(
                name,
                mean,
                std,
                rms,
                largest,
                rank,
                full,
                twins,
                identical,
                gradient,
                update,
                histogram(reals) if math.isfinite(rms) else None,
            )
    return found


def histogram(values: torch.Tensor) -> Histogram | None:
    """How often values fall into bins between the smallest and the largest; of many, some."""
    flat = values.flatten()
    if not len(flat):
        return None
    # In double, whose range holds the distance of any two float32 values.
    some = flat[:: -(-len(flat) // COUNTED)].cpu().double()
    low, high = (bound.item() for bound in torch.aminmax(some))
    if not math.isfinite(high - low):
        return None
    counts = torch.histc(some, BINS, low, high).int().tolist() if low < high else [len(some)]
    return Histogram(low, high, counts)


def effective_rank(values: torch.Tensor, layout: Layout) -> tuple[float, float]:
    """The mean effective rank of the matrices in a weight, and that of independent entries.

    tr(WWᵀ) is known, and tr((WWᵀ)²) = E‖WWᵀx‖² for x of independent unit entries (Hutchinson
    1989), so that no singular values are worked out.
    """
    ranks, fulls = [], []
    generator = torch.Generator(device="cpu").manual_seed(0)
    for matrix in maps(values, layout):
        units, inputs = matrix.shape
        fulls.append(units * inputs / (units + inputs))
        matrix = matrix.to(torch.complex64) if matrix.is_complex() else matrix.float()
        size = torch.linalg.vector_norm(matrix).item()
        if size == 0:
            continue
        signs = (
            torch.randint(0, 2, (units, PROBES), generator=generator, device="cpu").to(matrix) * 2
            - 1
        )
        mixed = matrix @ (matrix.mH @ signs) / size**2
        squares = torch.linalg.vector_norm(mixed).item() ** 2 / PROBES
        ranks.append(1 / squares)
        if len(ranks) == 64:  # groups by the thousand are alike
            break
    rank = sum(ranks) / len(ranks) if ranks else math.nan
    return rank, sum(fulls) / len(fulls) if fulls else math.nan
