"""Torch's own attention: the layer with its projections, and the function without."""

from __future__ import annotations

from isoinit._reading.torch.readers.call import Call, Step
from isoinit.initializers.scale import fans


def attention(call: Call) -> list[Step]:
    """Read `F.multi_head_attention_forward`: projections in, attention, and a projection out."""
    inputs = call.values(*[call.get(i, n) for i, n in enumerate(("query", "key", "value"))])
    packed = call.weight(call.get(5, "in_proj_weight"))
    uses = packed.uses("weight", lambda shape: fans.linear(shape, blocks=3)) if packed else []
    for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        separate = call.weight(call.kwargs.get(name))
        uses += separate.uses("weight", fans.linear) if separate else []
    uses += call.vector_uses(call.get(6, "in_proj_bias"), "bias")
    for position, name in ((7, "bias_k"), (8, "bias_v")):
        uses += call.vector_uses(call.get(position, name), "token")
    out = call.weight(call.get(11, "out_proj_weight"))
    if out is None:
        return []
    last = out.uses("weight", fans.linear) + call.vector_uses(call.get(12, "out_proj_bias"), "bias")
    return [
        Step("attention", "attention", tuple(dict.fromkeys(inputs)), tuple(uses)),
        Step("linear", "map", (), tuple(last)),
    ]


def scores(call: Call) -> list[Step]:
    """Read attention whose mask is, or holds, a learned bias by position."""
    mask = call.get(3, "attn_mask")
    weight = call.weight(mask)
    if weight is None:
        return []
    uses = weight.uses("position", fans.vector)
    inputs = call.values(*[call.get(i, n) for i, n in enumerate(("query", "key", "value"))])
    return [Step(call.name, "other", inputs, tuple(uses))]
