"""Norm layers, and PReLU: parameters of one number for each unit."""

from __future__ import annotations

import torch

from isoinit._reading.torch.readers.call import Call, Reader, Step
from isoinit.initializers.scale.gains import PRELU_SLOPE

STARTING_SLOPE = torch.tensor([PRELU_SLOPE])


def norm(weight_at: int, bias_at: int | None) -> Reader:
    """Make the reader of a norm layer whose scale and shift stand at these positions."""

    def reader(call: Call) -> list[Step]:
        uses = call.vector_uses(call.get(weight_at, "weight"), "scale")
        if bias_at is not None:
            uses += call.vector_uses(call.get(bias_at, "bias"), "shift")
        return [Step(call.name, "norm", call.values(call.get(0, "input")), tuple(uses))]

    return reader


def prelu(call: Call) -> list[Step]:
    """Read `F.prelu(x, w)`: one slope, or one for each channel."""
    uses = call.vector_uses(call.get(1, "weight"), "slope")
    return [Step("prelu", "other", call.values(call.get(0, "input")), tuple(uses))] if uses else []
