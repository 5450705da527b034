"""Convolutions, and those that are transposed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isoinit._reading.taps import taps
from isoinit._reading.torch.kernels import kernel
from isoinit._reading.torch.readers.call import Call, Step
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout


def conv(call: Call) -> list[Step]:
    """Read `F.conv2d(x, w, b, stride, padding, dilation, groups)` and its family.

    Transposed ones have other arguments between stride and groups, but as many.
    """
    weight = call.weight(call.get(1, "weight"))
    if weight is None:
        return []
    stride = _scalar_or_tuple(call.get(3, "stride", 1))
    transposed = "transpose" in call.name
    groups = call.get(6, "groups", 1)
    found = taps(call.name, call.args, call.kwargs)

    def layout(shape: tuple[int, ...]) -> Layout:
        if weight.exact and weight.kept is None:
            large = kernel(shape, weight.laid, groups, stride, transposed=transposed)
        else:
            large = (fans.conv_transpose if transposed else fans.conv)(shape, groups, stride)
        if not found.few:
            return large
        return replace(
            large, fan_in=large.fan_in * found.read, fan_out=large.fan_out * found.reached
        )

    uses = weight.uses("weight", layout)
    uses += call.vector_uses(call.get(2, "bias"), "bias")
    return [Step(call.name, "map", call.read(call.get(0, "input")), tuple(uses))]


def _scalar_or_tuple(stride: Any) -> int | tuple[int, ...]:
    if isinstance(stride, int):
        return stride
    return stride[0] if len(stride) == 1 else tuple(stride)
